package e2e

import (
	"fmt"
	"net"
	"testing"

	pionturn "github.com/pion/turn/v5"
)

const turnSecret = "the secret of the TURN server"

// denied is where the TURN server sends nothing.
var denied = net.IPv4(127, 0, 0, 99)

// relayServer is a TURN server on 127.0.0.1, by UDP and TCP.
func relayServer(t *testing.T) (port int) {
	t.Helper()
	var listen net.ListenConfig
	stream, err := listen.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	datagrams, err := listen.ListenPacket(t.Context(), "udp", stream.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	permits := func(_ net.Addr, peer net.IP) bool { return !peer.Equal(denied) }
	relay := &pionturn.RelayAddressGeneratorStatic{RelayAddress: net.IPv4(127, 0, 0, 1), Address: "127.0.0.1"}
	server, err := pionturn.NewServer(pionturn.ServerConfig{
		Realm: "example.org", AuthHandler: pionturn.LongTermTURNRESTAuthHandler(turnSecret, nil),
		PacketConnConfigs: []pionturn.PacketConnConfig{{PacketConn: datagrams, RelayAddressGenerator: relay, PermissionHandler: permits}},
		ListenerConfigs:   []pionturn.ListenerConfig{{Listener: stream, RelayAddressGenerator: relay, PermissionHandler: permits}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	return stream.Addr().(*net.TCPAddr).Port
}

// ways are the kinds of candidates by which the connections of a page send.
const ways = `(async () => {
  const out = [];
  for (const pc of window.testConnections) {
    const report = await pc.getStats();
    for (const s of report.values()) {
      if (s.type !== 'transport' || !s.selectedCandidatePairId) continue;
      const local = report.get(report.get(s.selectedCandidatePairId).localCandidateId);
      out.push(local.candidateType + ' ' + local.relayProtocol);
    }
  }
  return out;
})()`

// TestByTURN: two whose browsers may use nothing but a TURN server see and hear each other, at two
// nodes, by UDP and by TCP to that server.
func TestByTURN(t *testing.T) {
	b := browser(t)
	for _, transport := range []string{"udp", "tcp"} {
		t.Run(transport, func(t *testing.T) {
			text := fmt.Sprintf("turn:\n  servers: [\"turn:127.0.0.1:%d?transport=%s\"]\n  secret: %s\n", relayServer(t), transport, turnSecret)
			c := startCluster(t, 2, "--config", configured(t, text))
			token := c.conversation(c.nodes[0], "Behind a firewall")
			page := func(i int) string { return c.nodes[i].HTTP + "/call/" + token + "?redirect=0&relay=1" }
			ada, ben := joinAsGuest(t, b, "Ada", page(0)), joinAsGuest(t, b, "Ben", page(1))
			for _, p := range []*person{ada, ben} {
				awaitStreams(t, p, 1)
				all := eval[[]string](p, ways)
				for _, way := range all {
					if way != "relay "+transport {
						t.Errorf("%s sends by %s", p, way)
					}
				}
				if len(all) != 2 {
					t.Errorf("%s: %q", p, all)
				}
			}
		})
	}
}
