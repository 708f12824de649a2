package doctor

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"time"
)

// explain says in plain words why nobody was reached, and what to do.
func explain(host string, err error) (text, do string) {
	var dns *net.DNSError
	if errors.As(err, &dns) {
		if dns.IsNotFound {
			return "there is no address for the name " + dns.Name, "make a DNS record for it (A, AAAA), or correct the name"
		}
		if strings.Contains(dns.Err, syscall.ENETUNREACH.Error()) {
			return "the name " + dns.Name + " could not be looked up: this machine has no way to its DNS server", "look at its network (ip route), and at the DNS server that it uses (resolv.conf)"
		}
		return "the name " + dns.Name + " could not be looked up: " + dns.Err, "look at the DNS server that this machine uses (resolv.conf)"
	}
	if text, do := explainCertificate(host, err); text != "" {
		return text, do
	}
	var timeout net.Error
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "nothing listens at " + host + ": the connection is refused", "start the web server or reverse proxy there, or correct the port"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "there is no route to " + host, "look at network and firewall between this machine and that one"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return host + " does not answer in time", "a firewall may drop the packets without a word, or the machine is overloaded"
	case errors.Is(err, syscall.ECONNRESET):
		return host + " cuts the connection", "look into the log of the web server or reverse proxy there"
	case strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"), strings.Contains(err.Error(), "first record does not look like a TLS handshake"):
		return host + " speaks plain HTTP where HTTPS is wanted", "give it a certificate, or correct the port"
	}
	return "no answer from " + host + ": " + innermost(err), "look into the log of the server there"
}

// explainCertificate is empty for other errors.
func explainCertificate(host string, err error) (text, do string) {
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	var unknown x509.UnknownAuthorityError
	switch {
	case errors.As(err, &name):
		return "the certificate is not for " + name.Host + " but for " + namesOf(name.Certificate), "get a certificate with this name in it"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		c := invalid.Cert
		if time.Now().Before(c.NotBefore) {
			return "the certificate is good from " + day(c.NotBefore) + " on only", "look at the clock of this machine; if it is right, get another certificate"
		}
		return "the certificate has expired on " + day(c.NotAfter), "renew it, and see to it that it renews itself"
	case errors.As(err, &unknown):
		if c := unknown.Cert; c != nil && c.Issuer.String() == c.Subject.String() {
			return "the certificate of " + host + " is signed by itself, or by an authority of its own: nobody trusts it",
				"get one of a public authority; one of your own has to be known to all machines and phones (here: --ca FILE)"
		}
		return "the server leaves out the certificates between its own and the authority, or that is one of your own",
			"let the server send the whole chain (fullchain.pem), not its certificate alone; an authority of your own has to be known to all machines and phones (here: --ca FILE)"
	case errors.As(err, &invalid):
		return "the certificate is not valid: " + invalid.Error(), "get another one"
	}
	return "", ""
}

func namesOf(c *x509.Certificate) string {
	names := c.DNSNames
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	switch {
	case len(names) == 0:
		return "no name at all"
	case len(names) > 4:
		return strings.Join(names[:4], ", ") + fmt.Sprintf(" and %d more", len(names)-4)
	}
	return strings.Join(names, ", ")
}

func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }

// innermost is the last of a chain of errors: what is before it are names of functions
// and addresses that have been said.
func innermost(err error) string {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err.Error()
		}
		err = inner
	}
}

// statusWords says what a status that is not wanted means when a reverse proxy, or a
// web server, is in front of who should answer.
func statusWords(status int, behind string) (text, do string) {
	text = fmt.Sprintf("answered %d (%s)", status, http.StatusText(status))
	switch status {
	case http.StatusBadGateway, http.StatusServiceUnavailable:
		return text + ": the reverse proxy does not reach " + behind, "start it, and compare the address in the configuration of the proxy with where it listens"
	case http.StatusGatewayTimeout:
		return text + ": the reverse proxy waits for " + behind + " in vain", "see whether it hangs, and whether a firewall is between the two"
	case http.StatusNotFound:
		return text + ": nothing is passed on at this path", "correct the path in the configuration of the proxy, or in the URL"
	case http.StatusUnauthorized, http.StatusForbidden:
		return text + ": something in front of " + behind + " wants a login or keeps strangers out", "let these paths through without a login"
	case http.StatusTooManyRequests:
		return text + ": too many requests came from here", "wait, and except the nodes from the limit"
	}
	return text, "look into the log of the server there"
}
