package api

import (
	"errors"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/talkd/talkd/store"
)

const sessionPath = ocs2 + "/apps/talkd/api/v1/session"

func TestLogInAndOut(t *testing.T) {
	f := newFixture(t)
	if err := f.CreateUser(t.Context(), NewUser{ID: "ada", Password: password, DisplayName: "Ada L."}); err != nil {
		t.Fatal(err)
	}
	login := into[map[string]string](f, f.ok("POST", sessionPath, "", map[string]string{"user": " ada ", "password": password}))
	token := login["token"]
	if len(token) < 40 || login["userId"] != "ada" || login["displayName"] != "Ada L." || login["expires"] != t0.Add(DefaultLoginLifetime).Format(time.RFC3339) {
		t.Errorf("%v", login)
	}
	me := into[map[string]any](f, f.ok("GET", ocs2+"/cloud/user", token, nil))
	if me["id"] != "ada" || me["displayname"] != "Ada L." || me["display-name"] != "Ada L." {
		t.Errorf("%v", me)
	}
	f.ok("DELETE", sessionPath, token, nil)
	f.refused(401, "", "GET", ocs2+"/cloud/user", token, nil)
	f.refused(401, "", "DELETE", sessionPath, token, nil)
}

func TestLoginExpires(t *testing.T) {
	f := newFixture(t)
	token := f.login("ada")
	f.ok("GET", ocs2+"/cloud/user", token, nil)
	f.clock.move(time.Hour)
	f.refused(401, "", "GET", ocs2+"/cloud/user", token, nil)
}

func TestLogInRefuses(t *testing.T) {
	f := newFixture(t)
	if err := f.CreateUser(t.Context(), NewUser{ID: "ada", Password: password}); err != nil {
		t.Fatal(err)
	}
	wrong := f.refused(401, "", "POST", sessionPath, "", map[string]string{"user": "ada", "password": "wrong"})
	unknown := f.refused(401, "", "POST", sessionPath, "", map[string]string{"user": "nobody", "password": "wrong"})
	if string(wrong.body) != string(unknown.body) {
		t.Errorf("a wrong password and an unknown user differ:\n%s\n%s", wrong.body, unknown.body)
	}
	f.refused(400, "user", "POST", sessionPath, "", map[string]string{"user": "ada"})
	f.refused(400, "user", "POST", sessionPath, "", map[string]string{"user": strings.Repeat("a", 65), "password": "x"})
	f.refused(400, "password", "POST", sessionPath, "", map[string]string{"user": "ada", "password": strings.Repeat("a", maxPassword+1)})
	f.refused(400, "user", "POST", sessionPath, "", map[string]string{"user": "a\x00da", "password": "x"})
}

func TestBasic(t *testing.T) {
	f := newFixture(t)
	if err := f.CreateUser(t.Context(), NewUser{ID: "ada", Password: password}); err != nil {
		t.Fatal(err)
	}
	token := f.login("ben")
	basic := func(user, secret string) func(*http.Request) {
		return func(r *http.Request) { r.SetBasicAuth(user, secret) }
	}
	for _, c := range []struct {
		name, user, secret string
		status             int
	}{
		{"password", "ada", password, 200},
		{"password again, from memory", "ada", password, 200},
		{"token as an app password", "ben", token, 200},
		{"token of somebody else", "ada", token, 401},
		{"wrong", "ada", "wrong", 401},
		{"unknown", "cleo", password, 401},
		{"nothing", "", "", 401},
		{"endless", "ada", strings.Repeat("x", maxPassword+1), 401},
	} {
		if a := f.do("GET", ocs2+"/cloud/user", "", nil, basic(c.user, c.secret)); a.status != c.status {
			t.Errorf("%s: %d %s, want %d", c.name, a.status, a.body, c.status)
		}
	}
	if n := f.counted("talkd_api_password_checks_total", "right"); n != 1 {
		t.Errorf("hashed %v right passwords, want 1", n)
	}
	// A password has no login to end.
	if a := f.do("DELETE", sessionPath, "", nil, basic("ada", password)); a.status != 400 || a.code() != "login" {
		t.Errorf("log out with a password: %d %s", a.status, a.body)
	}
	for _, header := range []string{"Basic", "Basic !", "Digest x", "Bearer", "x", "Bearer " + strings.Repeat("x", maxCredential)} {
		set := func(r *http.Request) { r.Header.Set("Authorization", header) }
		if a := f.do("GET", ocs2+"/cloud/capabilities", "", nil, set); a.status != 401 {
			t.Errorf("Authorization %.20q: %d", header, a.status)
		}
	}
}

func TestThrottledLogin(t *testing.T) {
	f := newFixture(t)
	if err := f.CreateUser(t.Context(), NewUser{ID: "ada", Password: password}); err != nil {
		t.Fatal(err)
	}
	try := func(secret, from string) answer {
		return f.do("POST", sessionPath, "", map[string]string{"user": "ada", "password": secret}, func(r *http.Request) {
			r.RemoteAddr = net.JoinHostPort(from, "4711")
		})
	}
	for range 5 {
		if a := try("wrong", "198.51.100.1"); a.status != 401 {
			t.Fatalf("%d %s", a.status, a.body)
		}
	}
	// The right one too: it was not looked at.
	a := try(password, "198.51.100.200")
	if a.status != 429 || a.code() != "throttled" || a.header.Get("Retry-After") != "1" {
		t.Errorf("%d %v %s", a.status, a.header, a.body)
	}
	if n := f.counted("talkd_guesses_refused_total", "account"); n != 1 {
		t.Errorf("%v throttled counted", n)
	}
	if a := try(password, "203.0.113.9"); a.status != 200 {
		t.Errorf("from another network: %d %s", a.status, a.body)
	}
	f.clock.move(30 * time.Minute)
	if a := try("wrong", "198.51.100.1"); a.status != 401 {
		t.Errorf("after a while: %d", a.status)
	}
}

// TestThrottleComesFirst: in the pause not even a password is compared that was right a
// moment ago; after it whoever knows it is let in, and the guesses are forgotten.
func TestThrottleComesFirst(t *testing.T) {
	f := newFixture(t)
	if err := f.CreateUser(t.Context(), NewUser{ID: "ada", Password: password}); err != nil {
		t.Fatal(err)
	}
	try := func(secret string) int {
		return f.do("GET", ocs2+"/cloud/user", "", nil, func(r *http.Request) {
			r.SetBasicAuth("ada", secret)
			r.RemoteAddr = "198.51.100.1:4711"
		}).status
	}
	for range 2 {
		if got := try(password); got != 200 {
			t.Fatalf("%d", got)
		}
	}
	for range 5 {
		if got := try("wrong"); got != 401 {
			t.Fatalf("%d", got)
		}
	}
	if got := try(password); got != 429 {
		t.Errorf("the right one in the pause: %d", got)
	}
	f.clock.move(time.Second)
	if got := try(password); got != 200 {
		t.Errorf("the right one after the pause: %d", got)
	}
	for range 5 {
		if got := try("wrong"); got != 401 {
			t.Errorf("a wrong one after the right one: %d", got)
		}
	}
}

// TestManyRequestsAtOnce: an app that sends its password with each of many requests at once
// has not guessed, whether the password is remembered or not.
func TestManyRequestsAtOnce(t *testing.T) {
	f := newFixture(t)
	if err := f.CreateUser(t.Context(), NewUser{ID: "ada", Password: password}); err != nil {
		t.Fatal(err)
	}
	for _, remembered := range []bool{false, true} {
		var requests sync.WaitGroup
		for range 20 {
			requests.Go(func() {
				a := f.do("GET", ocs2+"/cloud/user", "", nil, func(r *http.Request) {
					r.SetBasicAuth("ada", password)
					r.RemoteAddr = "198.51.100.1:4711"
				})
				if a.status != http.StatusOK {
					t.Errorf("remembered %v: %d %s", remembered, a.status, a.body)
				}
			})
		}
		requests.Wait()
	}
}

func TestLoopbackIsThrottledUnlessDev(t *testing.T) {
	for _, dev := range []bool{false, true} {
		f := newFixture(t, func(c *Config) { c.Dev = dev })
		f.user("ada")
		last := 0
		for range 6 {
			last = f.do("POST", sessionPath, "", map[string]string{"user": "ada", "password": "wrong"}, func(r *http.Request) {
				r.RemoteAddr = "127.0.0.1:4711"
			}).status
		}
		if want := map[bool]int{false: 429, true: 401}[dev]; last != want {
			t.Errorf("dev %t: %d, want %d", dev, last, want)
		}
	}
}

func TestCreateUser(t *testing.T) {
	f := newFixture(t)
	for _, c := range []struct {
		name string
		user NewUser
		want error
	}{
		{"good", NewUser{ID: "ada", Password: password}, nil},
		{"there already", NewUser{ID: "ada", Password: password}, store.ErrExists},
		{"short", NewUser{ID: "ben", Password: "123456789"}, ErrWeakPassword},
		{"no password", NewUser{ID: "ben"}, ErrWeakPassword},
		{"endless password", NewUser{ID: "ben", Password: strings.Repeat("x", maxPassword+1)}, store.ErrInvalid},
		{"not UTF-8", NewUser{ID: "ben", Password: "\xff234567890"}, store.ErrInvalid},
		{"no name", NewUser{Password: password}, store.ErrInvalid},
		{"odd name", NewUser{ID: "a/b", Password: password}, store.ErrInvalid},
		{"odd display name", NewUser{ID: "ben", Password: password, DisplayName: "a\nb"}, store.ErrInvalid},
	} {
		if err := f.CreateUser(t.Context(), c.user); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	users, err := f.ListUsers(t.Context(), "")
	if err != nil || len(users) != 1 || users[0].ID != "ada" || !strings.HasPrefix(users[0].PasswordHash, "$argon2id$") {
		t.Errorf("%v %v", users, err)
	}
	dev := newFixture(t, func(c *Config) { c.Dev = true })
	if err := dev.CreateUser(t.Context(), NewUser{ID: "ada", Password: "1"}); err != nil {
		t.Errorf("short password on a development node: %v", err)
	}
}
