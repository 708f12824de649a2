package doctor

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/talkd/talkd/signaling/backend"
)

// clockWarning is a difference that does not hurt yet.
const clockWarning = 5 * time.Second

// Nextcloud says what a node has found out about an instance.
func Nextcloud(instance string, e backend.Examination) []Finding {
	f := &findings{about: instance}
	if e.Err != nil {
		text, do := nextcloudError(instance, e)
		f.failed(CheckNextcloud, text, do)
		return f.list
	}
	if e.Talk == "" {
		f.failed(CheckNextcloud, "Nextcloud "+e.Nextcloud+" answers, but has no Talk, or hides it from guests", "enable the app Talk (spreed) there")
		return f.list
	}
	f.ok(CheckNextcloud, "Nextcloud "+e.Nextcloud+" answers, Talk "+e.Talk)
	secretFinding(f, e.Secret)
	clockFinding(f, e.Ahead)
	if e.Key == nil {
		f.ok(CheckKey, "it has a key that signs the tokens of its people (hello 2.0)")
	} else {
		f.warning(CheckKey, "clients cannot use signed tokens (hello 2.0), but only tickets, for which it is asked each time: "+e.Key.Error(),
			"update Talk there; its log says why it makes no key")
	}
	return f.list
}

func nextcloudError(instance string, e backend.Examination) (text, do string) {
	host := instance
	if u, err := url.Parse(instance); err == nil {
		host = u.Host
	}
	switch {
	case errors.Is(e.Err, backend.ErrUnknownBackend):
		return "this node does not serve it", "talkd backend add " + instance
	case errors.Is(e.Err, backend.ErrUnreachable):
		return explain(host, e.Err)
	case e.Location != "":
		return fmt.Sprintf("answered %d: it is somewhere else, at %s", e.Status, origin(e.Location)), "configure the URL under which it answers itself (talkd backend): no redirect is followed"
	case e.Status == http.StatusServiceUnavailable:
		return "answered 503: it is in maintenance mode, or what is behind its web server does not run", "end the maintenance (occ maintenance:mode --off)"
	case e.Status == http.StatusOK:
		return "something else than a Nextcloud answers", "correct the URL: it is the one that people open, with the path if there is one"
	}
	return statusWords(e.Status, "Nextcloud")
}

// origin is a URL without what may be said to nobody else.
func origin(raw string) string {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" {
		return "another path"
	}
	return u.Scheme + "://" + u.Host
}

func secretFinding(f *findings, err error) {
	switch {
	case err == nil:
		f.ok(CheckSecret, "it has the same secret")
	case errors.Is(err, backend.ErrChecksum):
		f.failed(CheckSecret, "it has another secret: nobody gets in",
			"enter the same one on both sides: there in the settings of Talk, High-performance backend; here by talkd backend add "+f.about+" --secret-file FILE")
	default:
		f.failed(CheckSecret, "it does not answer signed questions: "+err.Error(),
			"let its web server pass POST "+backend.Endpoint+" through, with all headers")
	}
}

func clockFinding(f *findings, ahead *time.Duration) {
	if ahead == nil {
		f.add(CheckClock, Note, "it does not tell its time", "")
		return
	}
	by := ahead.Abs().Round(time.Second)
	where := "ahead of"
	if *ahead < 0 {
		where = "behind"
	}
	do := "set the clocks of both machines by NTP"
	switch {
	case by > backend.TokenSkew:
		f.failed(CheckClock, fmt.Sprintf("its clock is %v %s that of this node: tokens of clients are refused beyond %v", by, where, backend.TokenSkew), do)
	case by > clockWarning:
		f.warning(CheckClock, fmt.Sprintf("its clock is %v %s that of this node", by, where), do)
	default:
		f.ok(CheckClock, "its clock goes with that of this node")
	}
}
