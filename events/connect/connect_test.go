package connect

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestMembersAreServersOrURLs(t *testing.T) {
	m, err := parseMembers([]string{"a:5050", "https://b:8443/", "[::1]:80"}, false, Credentials{})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, u := range m.from(nil, nil) {
		got = append(got, u.String())
	}
	if s := strings.Join(got, " "); s != "http://a:5050 https://b:8443 http://[::1]" {
		t.Errorf("got %s", s)
	}
	if m, err := parseMembers([]string{"a:5050"}, true, Credentials{}); err != nil || m.from(nil, nil)[0].Scheme != "https" {
		t.Errorf("with TLS: %v, %v", m, err)
	}
	for _, bad := range []string{"", "ftp://a", "http://", "http://:5050", "http://a b", "%zz", "https://b/service/marathon", "b:8443/v2", "http://b?x=1", "http://b#x"} {
		if _, err := parseMembers([]string{bad}, false, Credentials{}); err == nil {
			t.Errorf("%q is taken for a server", bad)
		}
	}
	for _, bad := range []string{"http://u:s3cret@a:1", "u:s3cret@a", "http://u:s3cret@", "://u:s3cret@"} {
		if _, err := parseMembers([]string{bad}, false, Credentials{}); !errors.Is(err, ErrUserInURL) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("an address with a password: %v", err)
		}
	}
	if _, err := parseMembers(nil, false, Credentials{}); !errors.Is(err, ErrNoMembers) {
		t.Errorf("no servers: %v", err)
	}
}

func TestTheLastLeaderIsTriedFirstAndTheOneThatFailedLast(t *testing.T) {
	m, _ := parseMembers([]string{"a:1", "b:1", "c:1"}, false, Credentials{})
	at := func(host string) *url.URL {
		if host == "" {
			return nil
		}
		return &url.URL{Scheme: "http", Host: host}
	}
	for _, tt := range []struct{ led, failed, want string }{
		{"", "", "a:1 b:1 c:1"},
		{"b:1", "", "b:1 a:1 c:1"},
		{"d:1", "", "d:1 a:1 b:1 c:1"},
		{"", "a:1", "b:1 c:1 a:1"},
		{"", "d:1", "a:1 b:1 c:1"},
		{"c:1", "a:1", "c:1 b:1 a:1"},
	} {
		var hosts []string
		for _, u := range m.from(at(tt.led), at(tt.failed)) {
			hosts = append(hosts, u.Host)
		}
		if got := strings.Join(hosts, " "); got != tt.want {
			t.Errorf("led %q, failed %q: %s, want %s", tt.led, tt.failed, got, tt.want)
		}
	}
}

func TestOnlyMembersGetCredentials(t *testing.T) {
	for _, tt := range []struct {
		cred Credentials
		url  string
		want string
	}{
		{Credentials{User: "u", Password: "p"}, "https://a:1/x", "Basic dTpw"},
		{Credentials{User: "u", Password: "p"}, "http://b:1/x", "Basic dTpw"},
		{Credentials{User: "u", Token: "t"}, "https://a:1/x", "token=t"},
		{Credentials{User: "u", Token: "t"}, "http://a:1/x", ""}, // a is a member by https
		{Credentials{User: "u", Token: "t"}, "https://a:2/x", ""},
		{Credentials{User: "u", Token: "t"}, "https://evil/x", ""},
		{Credentials{User: "u", Token: "t"}, "https://a:1@evil/x", ""},
		{Credentials{}, "https://a:1/x", ""},
	} {
		m, err := parseMembers([]string{"https://a:1", "http://b:1"}, false, tt.cred)
		if err != nil {
			t.Fatal(err)
		}
		req, err := http.NewRequest(http.MethodGet, tt.url, nil)
		if err != nil {
			t.Fatal(err)
		}
		m.authorize(req)
		if got := req.Header.Get("Authorization"); got != tt.want {
			t.Errorf("%+v to %s: %q, want %q", tt.cred, tt.url, got, tt.want)
		}
	}
}

// One server has many spellings; the master's own is in its redirects.
func TestAMemberIsKnownByAnySpellingOfItsNameOrAddress(t *testing.T) {
	m, err := parseMembers([]string{"http://Master-1.Example.com:5050", "https://b", "[2001:db8:0::1]:5050", "10.0.0.1:80"}, false, Credentials{Token: "t"})
	if err != nil {
		t.Fatal(err)
	}
	for location, known := range map[string]bool{
		"//master-1.example.com:5050/api/v1":      true,
		"//MASTER-1.EXAMPLE.COM:5050/api/v1":      true,
		"//master-1.example.com.:5050/api/v1":     true,
		"//master-1:5050/api/v1":                  false, // perhaps, but nobody said so
		"//master-1.example.com:5051/api/v1":      false,
		"//master-1.example.com.evil:5050/":       false,
		"//master-1.example.com:5050@evil/api/v1": false,
		"//[2001:DB8::1]:5050/api/v1":             true,
		"//[2001:db8:0:0:0:0:0:1]:5050":           true,
		"//[2001:db8::2]:5050":                    false,
		"//10.0.0.1/api/v1":                       true,
		"//[::ffff:10.0.0.1]:80/api/v1":           true,
		"https://b:443/":                          true,
		"HTTPS://B./x":                            true,
		"http://b/":                               false, // a member by https
	} {
		req, _ := http.NewRequest(http.MethodPost, "http://standby:5050/api/v1", nil)
		resp := &http.Response{StatusCode: 307, Header: http.Header{"Location": {location}}, Request: req}
		to, ok := redirect(resp)
		if !ok {
			t.Errorf("%s is no redirect", location)
			continue
		}
		if m.known(to) != known {
			t.Errorf("%s: known %t, want %t", location, !known, known)
		}
		if led := m.from(to, nil); known && len(led) != 4 {
			t.Errorf("%s is tried twice: %v", location, led)
		}
	}
}

func TestRedirects(t *testing.T) {
	for _, tt := range []struct {
		status         int
		location, want string
	}{
		{302, "http://leader:8080/v2/events?event_type=x", "http://leader:8080"},
		{307, "//leader:5050/api/v1", "https://leader:5050"}, // Mesos: the scheme of the request
		{308, "https://leader", "https://leader"},
		{307, "/elsewhere", "https://standby:5050"}, // the same server: counted as a hop
		{307, "", ""},
		{302, "ftp://leader", ""},
		{302, "://", ""},
		{307, "//Leader.:5050/api/v1", "https://leader:5050"},
		{307, "//[::1]:5050/api/v1", "https://[::1]:5050"},
		{307, "//[::1]/api/v1", "https://[::1]"},
		{307, "//:5050/api/v1", ""},
		{200, "http://leader", ""},
		{301, "http://leader", ""},
	} {
		req, _ := http.NewRequest(http.MethodPost, "https://standby:5050/api/v1", nil)
		resp := &http.Response{StatusCode: tt.status, Header: http.Header{}, Request: req}
		if tt.location != "" {
			resp.Header.Set("Location", tt.location)
		}
		got := ""
		if u, ok := redirect(resp); ok {
			got = u.String()
		}
		if got != tt.want {
			t.Errorf("%d %q: %q, want %q", tt.status, tt.location, got, tt.want)
		}
	}
}

func TestARefusalSaysWhatToDoAboutWithheldCredentials(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "who are you \xff", http.StatusUnauthorized)
	}))
	defer srv.Close()
	client := newHTTP(nil, time.Second, nil)
	defer client.CloseIdleConnections()
	for member, want := range map[string]bool{"elsewhere:1": true, strings.TrimPrefix(srv.URL, "http://"): false} {
		m, _ := parseMembers([]string{member}, false, Credentials{Token: "secret"})
		resp, err := client.Get(srv.URL)
		if err != nil {
			t.Fatal(err)
		}
		text := (&Client{members: m}).Refused(resp).Error()
		_ = resp.Body.Close()
		if strings.Contains(text, "not among the configured servers") != want || !strings.Contains(text, "401") {
			t.Errorf("member %s: %s", member, text)
		}
		if strings.Contains(text, "secret") {
			t.Errorf("the error tells the token: %s", text)
		}
	}
}

func TestAQueueGivesAllInOrderAndThenTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := NewQueue[int](4, 100)
		end := errors.New("end")
		const n = 1000
		go func() {
			for i := range n {
				if err := q.Put(t.Context(), i, 10); err != nil {
					t.Error(err)
				}
			}
			q.End(end)
		}()
		next := 0
		for {
			<-q.Filled()
			items, err := q.Take()
			if err != nil {
				if !errors.Is(err, end) || next != n {
					t.Errorf("ended with %v after %d", err, next)
				}
				return
			}
			if len(items) > 4 {
				t.Errorf("%d items in a queue of 4", len(items))
			}
			for _, i := range items {
				if i != next {
					t.Fatalf("%d came after %d", i, next-1)
				}
				next++
			}
		}
	})
}

func TestAQueueIsBoundedByBytesButTakesOneOfAnySize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := NewQueue[int](100, 50)
		if err := q.Put(t.Context(), 1, 1000); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- q.Put(ctx, 2, 10) }()
		synctest.Wait()
		if q.Len() != 1 {
			t.Errorf("%d items wait", q.Len())
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
}

func TestAWatchCountsOnlyTheTimeInARead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, w := io.Pipe()
		expired := 0
		watch := &Watch{R: r, Patience: time.Second, Expired: func() { expired++; _ = r.Close() }}
		go func() {
			for range 3 {
				time.Sleep(900 * time.Millisecond)
				_, _ = w.Write([]byte("x"))
			}
		}()
		buf := make([]byte, 10)
		for range 3 {
			if _, err := watch.Read(buf); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Hour) // nobody reads
		if expired != 0 {
			t.Error("expired though no read was slow")
		}
		if _, err := watch.Read(buf); err == nil || expired != 1 {
			t.Errorf("a silent stream: %v, expired %d times", err, expired)
		}
	})
}
