//go:build linux

package main

import (
	"fmt"
	"net"

	pionice "github.com/pion/ice/v4"
	"github.com/pion/interceptor"
	"github.com/pion/rtcp"
	"github.com/pion/webrtc/v4"

	"github.com/talkd/talkd/media"
)

// plain is an SFU as Pion's examples write it: one local track, to which each
// receiver's connection is bound, with the default codecs and interceptors.
type plain struct {
	api    *webrtc.API
	mime   string
	tracks []*webrtc.TrackLocalStaticRTP
	subs   handles[*webrtc.PeerConnection]
}

func newPlain(s Setup, feeds []*feed) (*plain, error) {
	m, r := &webrtc.MediaEngine{}, &interceptor.Registry{}
	if err := m.RegisterDefaultCodecs(); err != nil {
		return nil, err
	}
	var settings webrtc.SettingEngine
	settings.SetIncludeLoopbackCandidate(true)
	settings.SetInterfaceFilter(func(name string) bool { return name == "lo" })
	settings.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4})
	settings.LoggerFactory = silent
	settings.SetICEMulticastDNSMode(pionice.MulticastDNSModeDisabled)
	if s.Variant == Bare {
		socket, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			return nil, err
		}
		settings.SetICEUDPMux(pionice.NewUDPMuxDefault(pionice.UDPMuxParams{UDPConn: socket, Logger: silent.NewLogger("")}))
	} else if err := webrtc.RegisterDefaultInterceptors(m, r); err != nil {
		return nil, err
	}
	p := &plain{
		mime: webrtc.MimeTypeVP8,
		api:  webrtc.NewAPI(webrtc.WithMediaEngine(m), webrtc.WithInterceptorRegistry(r), webrtc.WithSettingEngine(settings)),
	}
	if s.Kind == media.Audio {
		p.mime = webrtc.MimeTypeOpus
	}
	for i := range s.Streams {
		t, err := webrtc.NewTrackLocalStaticRTP(webrtc.RTPCodecCapability{MimeType: p.mime}, s.Kind, fmt.Sprint("s", i))
		if err != nil {
			return nil, err
		}
		p.tracks = append(p.tracks, t)
	}
	for i, f := range feeds {
		go pump(p.tracks[i], f)
	}
	return p, nil
}

func pump(t *webrtc.TrackLocalStaticRTP, f *feed) {
	buf := make([]byte, media.MaxPacket)
	for {
		for range f.wait() {
			_, _ = t.Write(buf[:f.put(buf)]) // a receiver that is gone is missed by the count
		}
	}
}

func (p *plain) subscribe(stream int, data bool) (int, string, error) {
	pc, err := p.api.NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		return 0, "", err
	}
	sender, err := pc.AddTrack(p.tracks[stream])
	if err != nil {
		return 0, "", err
	}
	go drain(sender)
	if data {
		if _, err := pc.CreateDataChannel("status", nil); err != nil {
			return 0, "", err
		}
	}
	d, err := pc.CreateOffer(nil)
	if err != nil {
		return 0, "", err
	}
	offer, err := describe(pc, d)
	return p.subs.add(pc), offer, err
}

// drain reads RTCP, which the interceptors see by that.
func drain(s *webrtc.RTPSender) {
	buf := make([]byte, media.MaxPacket)
	for {
		if _, _, err := s.Read(buf); err != nil {
			return
		}
	}
}

func (p *plain) answer(id int, answer string) error {
	return p.subs.get(id).SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: answer})
}

func (p *plain) publish(stream int, offer string) (string, error) {
	pc, err := p.api.NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		return "", err
	}
	pc.OnTrack(func(remote *webrtc.TrackRemote, _ *webrtc.RTPReceiver) {
		_ = pc.WriteRTCP([]rtcp.Packet{&rtcp.PictureLossIndication{MediaSSRC: uint32(remote.SSRC())}})
		buf := make([]byte, media.MaxPacket)
		for {
			n, _, err := remote.Read(buf)
			if err != nil {
				return
			}
			_, _ = p.tracks[stream].Write(buf[:n]) // a receiver that is gone is missed by the count
		}
	})
	if err := pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: offer}); err != nil {
		return "", err
	}
	d, err := pc.CreateAnswer(nil)
	if err != nil {
		return "", err
	}
	return describe(pc, d)
}

// describe sets a description and returns it with all candidates.
func describe(pc *webrtc.PeerConnection, d webrtc.SessionDescription) (string, error) {
	gathered := webrtc.GatheringCompletePromise(pc)
	if err := pc.SetLocalDescription(d); err != nil {
		return "", err
	}
	<-gathered
	return pc.LocalDescription().SDP, nil
}
