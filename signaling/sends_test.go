package signaling

import "testing"

// TestSends: nothing is sent that an offer does not name in a way that others could read
// otherwise.
func TestSends(t *testing.T) {
	const head = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n"
	const audio, video = "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\n", "m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:1\r\n"
	for name, tt := range map[string]struct {
		sdp          string
		audio, video bool
	}{
		"nothing":                          {head, false, false},
		"both":                             {head + audio + video, true, true},
		"line feeds alone":                 {"v=0\nm=audio 9 UDP/TLS/RTP/SAVPF 111\na=inactive\nm=video 9 UDP/TLS/RTP/SAVPF 96\na=sendonly\n", false, true},
		"to receive":                       {head + audio + "a=recvonly\r\n" + video + "a=inactive\r\n", false, false},
		"other letters":                    {head + "m=Video 9 UDP/TLS/RTP/SAVPF 96\r\n", false, true},
		"a tab":                            {head + "m=video\t9 UDP/TLS/RTP/SAVPF 96\r\n", false, true},
		"nothing but the kind":             {head + "m=video\r\n", false, true},
		"behind a carriage return":         {"v=0\r\nt=0 0\r" + video, true, true},
		"taken back by a carriage return":  {head + video + "a=x\ra=recvonly\r\n", true, true},
		"two carriage returns in one line": {head + video + "a=recvonly\r\r\n", true, true},
	} {
		if a, v := sends(tt.sdp); a != tt.audio || v != tt.video {
			t.Errorf("%s: audio %v, video %v", name, a, v)
		}
	}
}
