package relay

import (
	"bytes"
	"crypto/cipher"
	"encoding/hex"
	"math/rand/v2"
	"slices"
	"testing"
)

func testAEAD(t testing.TB) cipher.AEAD {
	t.Helper()
	aead, err := newAEAD(bytes.Repeat([]byte{7}, keyLen))
	if err != nil {
		t.Fatal(err)
	}
	return aead
}

// The frame is what nodes of different versions must agree on.
func TestFrameOnTheWire(t *testing.T) {
	var nonce [nonceLen]byte
	h := header{kind: kindNACK, epoch: 0x01020304, stream: 0x0a0b0c0d, counter: 0x1122334455667788}
	frame := seal(nil, testAEAD(t), &nonce, h, appendNACK(nil, []uint16{1, 0xffff}))
	const want = "0102010203040a0b0c0d1122334455667788" + "b5056243" + "6765d9e1c274706d8afed3306843f8f4"
	if got := hex.EncodeToString(frame); got != want {
		t.Errorf("frame %s, want %s", got, want)
	}
	if got := hex.EncodeToString(nonce[:]); got != "0a0b0c0d1122334455667788" {
		t.Errorf("nonce %s", got)
	}
}

func TestSealedFramesOpenUnchangedOnly(t *testing.T) {
	aead := testAEAD(t)
	var nonce [nonceLen]byte
	for _, size := range []int{0, 1, 12, 1200, 1500} {
		plain := bytes.Repeat([]byte{byte(size)}, size)
		h := header{kind: kindRTP, epoch: 1, stream: 2, counter: uint64(size) + 1}
		frame := seal(nil, aead, &nonce, h, plain)
		parsed, ok := parseHeader(frame)
		if !ok || parsed != h {
			t.Fatalf("%d bytes: header %+v, %v", size, parsed, ok)
		}
		got, err := open(nil, aead, &nonce, parsed, frame)
		if err != nil || !bytes.Equal(got, plain) {
			t.Fatalf("%d bytes: %v", size, err)
		}
		for i := range frame {
			bad := slices.Clone(frame)
			bad[i] ^= 1
			if parsed, ok := parseHeader(bad); ok {
				if _, err := open(nil, aead, &nonce, parsed, bad); err == nil {
					t.Fatalf("%d bytes: byte %d changed, and it opens", size, i)
				}
			}
		}
	}
}

func TestNotFrames(t *testing.T) {
	valid := seal(nil, testAEAD(t), new([nonceLen]byte), header{kind: kindRTP, epoch: 1, stream: 1, counter: 1}, nil)
	change := func(at int, b byte) []byte {
		f := slices.Clone(valid)
		f[at] = b
		return f
	}
	for name, f := range map[string][]byte{
		"empty": nil, "short": valid[:headerLen+tagLen-1], "long": make([]byte, maxFrame+1),
		"version": change(0, 2), "kind 0": change(1, 0), "kind 4": change(1, 4), "counter 0": change(17, 0),
	} {
		if _, ok := parseHeader(f); ok {
			t.Errorf("%s: accepted", name)
		}
	}
	for name, b := range map[string][]byte{"odd": {1, 2, 3}, "long": make([]byte, 2*maxNACK+2)} {
		if got := parseNACK(b); got != nil {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestWindowProperty(t *testing.T) {
	for seed := range uint64(30) {
		rnd := rand.New(rand.NewPCG(seed, 2))
		var w window
		used := make(map[uint64]bool)
		var top uint64
		for range 20_000 {
			n := top + uint64(rnd.IntN(40))
			switch rnd.IntN(400) {
			case 0:
				n += uint64(rnd.IntN(3 * windowSize))
			case 1:
				n = uint64(rnd.Int64()) % (top + 1)
			default:
				n -= min(n, uint64(rnd.IntN(100)))
			}
			want := n > 0 && !used[n] && (n > top || top-n < windowSize)
			if got := w.fresh(n); got != want {
				t.Fatalf("seed %d: fresh(%d) = %v with top %d", seed, n, got, top)
			}
			if want {
				w.mark(n)
				used[n] = true
				top = max(top, n)
			}
		}
	}
	w := window{}
	w.mark(1<<64 - 1) // no end of the numbers makes it fail
	if w.fresh(1<<64-1) || !w.fresh(1<<64-2) || w.fresh(1) {
		t.Error("window at the end of the numbers")
	}
}
