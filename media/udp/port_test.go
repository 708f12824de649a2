package udp

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
)

// What is announced is what was configured, or what others can reach.
func TestListenAddresses(t *testing.T) {
	p := listenFor(t, "127.0.0.1:0", 1)
	if got := p.GetListenAddresses(); len(got) != 1 || got[0].String() != p.Addr().String() {
		t.Errorf("announced %v of %v", got, p.Addr())
	}
	p = listenFor(t, "0.0.0.0:0", 1)
	for _, a := range p.GetListenAddresses() {
		u := a.(*net.UDPAddr)
		if u.IP.IsLoopback() || u.IP.IsLinkLocalUnicast() && u.IP.To4() == nil || u.Port != int(p.Addr().Port()) {
			t.Errorf("announced %v", a)
		}
	}
	for text, want := range map[string]bool{
		"127.0.0.1": false, "::1": false, "0.0.0.0": false, "192.0.2.1": true, "169.254.1.1": true,
		"2001:db8::1": true, "fd00::1": true, "fe80::1": false, "fec0::1": false,
	} {
		if got := p.reaches(net.ParseIP(text)); got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
}

// A port that is taken, or no address at all, is an error, and leaves nothing.
func TestListenFails(t *testing.T) {
	taken, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, address := range []string{taken.LocalAddr().String(), "nonsense", "192.0.2.1:0"} {
		if p, err := Listen(t.Context(), Config{Address: address, Sockets: 2}); err == nil {
			t.Errorf("%s: listens at %v", address, p.Addr())
			_ = p.Close()
		}
	}
}

func TestMetrics(t *testing.T) {
	registry := prometheus.NewRegistry()
	cfg := Config{Address: "127.0.0.1:0", Sockets: 1, Registerer: registry}
	p, err := Listen(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(t.Context(), cfg); err == nil {
		t.Error("two ports have one registry")
	}
	r := newReceiver(t, "127.0.0.1:0")
	conn := connFor(t, p, "ours", p.Addr())
	writeTo(t, conn, success(t), r.addr)
	r.send(t, p, []byte("data"))
	wantNext(t, conn, []byte("data"), r.addr)
	p.joining.off.Store(false)
	k := kernel{refuse: func(message) error { return nil }}
	b := &Burst{sockets: p.Sockets, out: &k}
	for i := range 7 {
		b.addNumber(alice, i, 100)
	}
	b.addNumber(bob, 1, 100)
	b.Flush()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := strings.TrimPrefix(f.GetName(), "talkd_media_udp_")
			for _, l := range m.GetLabel() {
				name += " " + l.GetValue()
			}
			if h := m.GetHistogram(); h != nil {
				for _, x := range h.GetBucket() {
					got[fmt.Sprint(name, " up to ", x.GetUpperBound())] = float64(x.GetCumulativeCount())
				}
				got[name+" sum"] = h.GetSampleSum()
			}
			got[name] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	want := map[string]float64{
		"datagrams_total in": 1, "datagrams_total out": 9, "joining": 1, "sent_apart_total": 0, "overflows_total": 0,
		"dropped_total full": 0, "dropped_total refused": 0, "dropped_total queue": 0, "dropped_total unknown": 0, "dropped_total addresses": 0, "dropped_total unanswered": 0,
		"message_datagrams": 0, "message_datagrams sum": 8,
		"message_datagrams up to 1": 1, "message_datagrams up to 2": 1, "message_datagrams up to 4": 1, "message_datagrams up to 8": 2,
		"message_datagrams up to 16": 2, "message_datagrams up to 32": 2, "message_datagrams up to 64": 2,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if left, err := registry.Gather(); err != nil || len(left) != 0 {
		t.Errorf("%d metrics are left: %v", len(left), err)
	}
}
