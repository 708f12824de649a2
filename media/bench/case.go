//go:build linux

package main

import (
	"runtime"
	"time"

	piondtls "github.com/pion/dtls/v3"

	"github.com/talkd/talkd/media"
)

// Case is one line of the table.
type Case struct {
	Name string
	Kind string
	Shape
	Receivers int // of each stream
	Streams   int
	// Profile is what receivers and publishers agree to, and so is the same for
	// every variant.
	Profile piondtls.SRTPProtectionProfile
	// Interval makes it paced: a publisher in the other process sends a burst each
	// interval. Otherwise the packets are made where they are forwarded, as fast as
	// they are taken.
	Interval time.Duration
	AllCores bool    // not on one core
	Limit    float64 // of talkd to the floor, as the project has it; 0: none
}

// Shape is how large packets are, and how many are there at once.
type Shape struct {
	Size  int // of an RTP packet
	Burst int
	// Frames are the sizes of the packets of one burst after the other, over and
	// over, instead of Size and Burst.
	Frames [][]int `json:",omitempty"`
}

// frame is the sizes of the packets of a burst.
func (s Shape) frame(i int) []int {
	if len(s.Frames) > 0 {
		return s.Frames[i%len(s.Frames)]
	}
	sizes := make([]int, s.Burst)
	for i := range sizes {
		sizes[i] = s.Size
	}
	return sizes
}

func (c Case) paced() bool { return c.Interval > 0 }

func tight(name, kind string, size, burst, receivers int, limit float64) Case {
	return Case{
		Name: name, Kind: kind, Shape: Shape{Size: size, Burst: burst}, Receivers: receivers, Streams: 1,
		Profile: piondtls.SRTP_AEAD_AES_256_GCM, Limit: limit,
	}
}

// every makes a case paced.
func (c Case) every(interval time.Duration) Case {
	c.Interval = interval
	return c
}

func (c Case) sealed(p piondtls.SRTPProtectionProfile) Case {
	c.Profile = p
	return c
}

// quickCases are what to look at while working on the code.
func quickCases() []Case {
	return []Case{
		tight("tight, bursts of 8, 50 receivers", media.Video, 1200, 8, 50, 1.25),
		tight("tight, bursts of 1, 50 receivers", media.Video, 1200, 1, 50, 1.25),
		pacedCase(),
	}
}

// pacedCase is as much as Pion carries without losing any: at 100 k/s it does.
func pacedCase() Case {
	return tight("paced, bursts of 8, 50 receivers, 80 k/s", media.Video, 1200, 8, 50, 1.6).every(5 * time.Millisecond)
}

// unevenCase is what a browser sends.
func unevenCase() Case {
	c := tight("tight, sizes and bursts of Chromium's VP8, 50 receivers", media.Video, 0, 0, 50, 1.25)
	c.Frames = chromium()
	return c
}

// checkCases are sent to receivers that look at every packet.
func checkCases() []Case {
	video := func(name string) Case { return tight(name, media.Video, 1200, 8, checkReceivers, 0) }
	uneven := unevenCase()
	uneven.Name, uneven.Receivers = "tight, sizes as Chromium's", checkReceivers
	return []Case{
		video("tight, AES_256_GCM"),
		video("paced, AES_256_GCM").every(checkInterval),
		video("tight, AES_128_GCM").sealed(piondtls.SRTP_AEAD_AES_128_GCM),
		video("tight, AES_CM_128_HMAC_SHA1_80").sealed(piondtls.SRTP_AES128_CM_HMAC_SHA1_80),
		uneven,
	}
}

// allCases are what docs/performance.md tells of.
func allCases() []Case {
	wide := tight("all cores, bursts of 8, a stream to 50 for each", media.Video, 1200, 8, 50, 0)
	wide.Streams, wide.AllCores = runtime.NumCPU(), true
	return append(quickCases(),
		tight("tight, bursts of 8, 200 receivers", media.Video, 1200, 8, 200, 1.25),
		tight("tight, bursts of 1, 200 receivers", media.Video, 1200, 1, 200, 1.25),
		tight("tight, bursts of 8, 1 receiver", media.Video, 1200, 8, 1, 0),
		tight("tight, bursts of 1, 1 receiver", media.Video, 1200, 1, 1, 0),
		tight("tight, audio of 100 B, bursts of 4, 50 receivers", media.Audio, 100, 4, 50, 1.25),
		unevenCase(),
		// Of receivers without AES-256-GCM.
		tight("tight, bursts of 8, 50 receivers, AES_128_GCM", media.Video, 1200, 8, 50, 1.25).sealed(piondtls.SRTP_AEAD_AES_128_GCM),
		tight("tight, bursts of 8, 50 receivers, AES_CM_128_HMAC_SHA1_80", media.Video, 1200, 8, 50, 1.25).sealed(piondtls.SRTP_AES128_CM_HMAC_SHA1_80),
		tight("paced, bursts of 8, 1 receiver, 2 k/s", media.Video, 1200, 8, 1, 0).every(4*time.Millisecond),
		tight("paced, bursts of 8, 200 receivers, 80 k/s", media.Video, 1200, 8, 200, 1.6).every(20*time.Millisecond),
		wide,
	)
}
