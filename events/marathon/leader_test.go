package marathon

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/connect"
)

// standby redirects for the stream, as Marathon's members do.
func standby(leader func() string, seen *[]string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		*seen = append(*seen, r.Header.Get("Authorization"))
		w.Header().Set("Location", leader()+"/v2/events?"+r.URL.RawQuery)
		w.WriteHeader(http.StatusFound)
	})
}

func known(c *events.Cluster) bool { return c.Marathon != nil }

func TestAStandbyLeadsToTheLeader(t *testing.T) {
	f, l := newFake(), newLog()
	f.user = "taskwall"
	leader := serve(t, f)
	var seen []string
	sb := serve(t, standby(func() string { return leader.URL }, &seen))
	s := start(t, Config{Members: []string{sb.URL, leader.URL}, User: "taskwall", Password: "secret"}, l, nil)
	l.Until(t, "the leader is followed", known)
	<-f.opened
	for !s.Status().Connected {
		time.Sleep(time.Millisecond)
	}
	if got, want := s.Status().Leader, strings.TrimPrefix(leader.URL, "http://"); got != want {
		t.Errorf("leader %s, want %s", got, want)
	}
}

func TestAnUnknownLeaderGetsNoCredentials(t *testing.T) {
	f, l := newFake(), newLog()
	f.user = "taskwall"
	leaked := make(chan string, 100)
	f.before = func(_ http.ResponseWriter, r *http.Request) bool {
		if a := r.Header.Get("Authorization"); a != "" {
			leaked <- a
		}
		return false
	}
	leader := serve(t, f)
	var seen []string
	tried := make(chan struct{}, 100)
	sb := serve(t, standby(func() string { tried <- struct{}{}; return leader.URL }, &seen))
	s := start(t, Config{Members: []string{sb.URL}, User: "taskwall", Password: "secret"}, l, nil)
	<-tried
	<-tried // the first attempt has failed
	if len(leaked) > 0 {
		t.Errorf("the unknown leader was given %s", <-leaked)
	}
	if got := s.Status().LastError; !strings.Contains(got, "not among the configured servers") {
		t.Errorf("the error does not say what to do: %s", got)
	}
}

func TestTheAcceptHeaderIsExact(t *testing.T) {
	f, l := newFake(), newLog()
	got := make(chan []string, 1)
	f.before = func(_ http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/v2/events" {
			select {
			case got <- r.Header.Values("Accept"):
			default:
			}
		}
		return false
	}
	start(t, Config{Members: []string{serve(t, f).URL}}, l, nil)
	l.Until(t, "Marathon is known", known)
	if a := <-got; len(a) != 1 || a[0] != "text/event-stream" {
		t.Errorf("Accept: %q", a)
	}
}

func TestOnlyWhatIsUsedIsAskedFor(t *testing.T) {
	f, l := newFake(), newLog()
	query := make(chan []string, 1)
	f.before = func(_ http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/v2/events" {
			select {
			case query <- r.URL.Query()["event_type"]:
			default:
			}
		}
		return false
	}
	start(t, Config{Members: []string{serve(t, f).URL}}, l, nil)
	l.Until(t, "Marathon is known", known)
	types := <-query
	if !contains(types, "event_stream_attached") || !contains(types, "group_change_success") {
		t.Errorf("asked for %v", types)
	}
	for _, typ := range types {
		if strings.HasPrefix(typ, "status_update") || strings.HasPrefix(typ, "instance_") || strings.Contains(typ, ",") {
			t.Errorf("asked for %s", typ)
		}
	}
}

func TestALeaderChangeIsFollowed(t *testing.T) {
	first, second, l := newFake(), newFake(), newLog()
	first.set("/v2/groups", group(app("/shop/web", v1, ""), ""))
	second.set("/v2/groups", group(app("/shop/web", v2, ""), ""))
	second.set("/v2/info", `{"name":"marathon","frameworkId":"fw-1","leader":"m2:8080"}`)
	leaders := []*httptest.Server{serve(t, first), serve(t, second)}
	start(t, Config{Members: []string{leaders[0].URL, leaders[1].URL}}, l, nil)
	l.Until(t, "the first is followed", appIs("/shop/web", v1))
	first.mu.Lock()
	first.attach = false // it goes on to answer 200, and nothing more
	first.mu.Unlock()
	first.drop()
	l.Until(t, "the second is followed", func(c *events.Cluster) bool {
		return c.Apps["/shop/web"].Version == v2 && c.Marathon.Leader == "m2:8080"
	})
}

func TestTLSMembers(t *testing.T) {
	f, l := newFake(), newLog()
	f.user = "taskwall"
	srv := httptest.NewTLSServer(f)
	t.Cleanup(func() { srv.CloseClientConnections(); srv.Close() })
	roots := x509.NewCertPool()
	roots.AddCert(srv.Certificate())
	start(t, Config{
		Members: []string{strings.TrimPrefix(srv.URL, "https://")}, TLS: &tls.Config{RootCAs: roots},
		User: "taskwall", Password: "secret",
	}, l, nil)
	l.Until(t, "Marathon is known", known)
}

// pipes serves one host in memory, so that a test can run in a synctest bubble.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.once.Do(func() { close(p.closed) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case p.conns <- server:
		return client, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// bubble runs a source against h in a synctest bubble.
func bubble(t *testing.T, h http.Handler, cfg Config, run func(t *testing.T, l *log, s *Source)) {
	synctest.Test(t, func(t *testing.T) {
		p, l := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}, newLog()
		l.Patience = 24 * time.Hour
		srv := &http.Server{Handler: h}
		done := make(chan struct{})
		go func() { defer close(done); _ = srv.Serve(p) }()
		t.Cleanup(func() { _ = srv.Close(); <-done })
		cfg.Members, cfg.Dial = []string{"m1:8080"}, p.dial
		run(t, l, start(t, cfg, l, nil))
	})
}

// TestASilentStreamIsLeft after 35 s; Marathon writes a blank line every 10 s,
// its two bytes apart.
func TestASilentStreamIsLeft(t *testing.T) {
	for _, quiet := range []bool{false, true} {
		f := newFake()
		bubble(t, f, Config{Resync: 1000 * time.Hour, RetryMin: time.Second, RetryMax: time.Second}, func(t *testing.T, l *log, s *Source) {
			l.Until(t, "Marathon is known", known)
			began := time.Now()
			for !quiet && time.Since(began) < 10*time.Minute {
				time.Sleep(5 * time.Second)
				f.write("\r")
				time.Sleep(5 * time.Second)
				f.write("\n")
			}
			if quiet {
				time.Sleep(36 * time.Second)
			}
			st := s.Status()
			if left := strings.Contains(st.LastError, ErrSilent.Error()); left != quiet || !quiet && st.Counters.Connects != 1 {
				t.Errorf("quiet %v: %+v", quiet, st)
			}
		})
	}
}

// TestAStreamThatIsNeverAttachedIsLeft though it is not silent.
func TestAStreamThatIsNeverAttachedIsLeft(t *testing.T) {
	mute := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusOK)
		for beat := time.NewTicker(10 * time.Second); ; {
			_, _ = io.WriteString(w, "\r\n")
			w.(http.Flusher).Flush()
			select {
			case <-beat.C:
			case <-r.Context().Done():
				return
			}
		}
	})
	bubble(t, mute, Config{}, func(t *testing.T, l *log, s *Source) {
		time.Sleep(31 * time.Second)
		if st := s.Status(); !strings.Contains(st.LastError, ErrNotAttached.Error()) {
			t.Errorf("%+v", st)
		}
	})
}

// TestAStreamThatNeverLastsIsOpenedEverMoreRarely: each costs Marathon and us a
// picture of everything. One that breaks after a while is opened again at once.
func TestAStreamThatNeverLastsIsOpenedEverMoreRarely(t *testing.T) {
	for _, c := range []struct {
		lasts        time.Duration
		fewest, most uint64
	}{{100 * time.Millisecond, 250, 350}, {20 * time.Second, 170, 181}} {
		f := newFake()
		f.opened = make(chan struct{}, 10_000) // nobody takes them
		f.before = func(_ http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path == "/v2/events" {
				time.AfterFunc(c.lasts, f.drop)
			}
			return false
		}
		cfg := Config{RetryMin: 500 * time.Millisecond, RetryMax: 15 * time.Second, Rand: func() float64 { return 0.5 }}
		bubble(t, f, cfg, func(t *testing.T, l *log, s *Source) {
			l.Until(t, "Marathon is known", known)
			time.Sleep(time.Hour)
			if n := s.Status().Counters.Connects; n < c.fewest || n > c.most {
				t.Errorf("streams that last %v were opened %d times in an hour", c.lasts, n)
			}
		})
	}
}

// TestADeploymentThatVanishesHasEnded: its last event was missed.
func TestADeploymentThatVanishesHasEnded(t *testing.T) {
	f := newFake()
	f.set("/v2/deployments", `[{"id":"d1","version":"`+v1+`","steps":[]}]`)
	bubble(t, f, Config{Resync: time.Minute, Silence: time.Hour}, func(t *testing.T, l *log, s *Source) {
		l.Until(t, "it is known", func(c *events.Cluster) bool { return len(c.Deployments) == 1 })
		f.set("/v2/deployments", `[]`)
		l.Until(t, "it is over", func(c *events.Cluster) bool { return len(c.Deployments) == 0 })
		evs := l.Events()
		if last := evs[len(evs)-1]; last.Deployment.State != "ended" {
			t.Errorf("it %s", last.Deployment.State)
		}
		// An answer that is older than that does not bring it back.
		f.set("/v2/deployments", `[{"id":"d1","version":"`+v1+`","steps":[]}]`)
		time.Sleep(5 * time.Minute)
		if n := len(l.Folded().Deployments); n != 0 {
			t.Errorf("it is back")
		}
	})
}

func TestADeploymentsEndThatIsOnItsWayIsWaitedFor(t *testing.T) {
	f := newFake()
	f.set("/v2/deployments", `[{"id":"d1","version":"`+v1+`","steps":[]}]`)
	bubble(t, f, Config{Resync: time.Minute, Silence: time.Hour}, func(t *testing.T, l *log, s *Source) {
		l.Until(t, "it is known", func(c *events.Cluster) bool { return len(c.Deployments) == 1 })
		f.set("/v2/deployments", `[]`)
		time.Sleep(time.Minute + 8*time.Second) // it is missing
		f.send("deployment_success", `{"eventType":"deployment_success","id":"d1"}`)
		time.Sleep(time.Hour)
		evs := l.Events()
		if last := evs[len(evs)-1]; last.Deployment == nil || last.Deployment.State != "succeeded" {
			t.Errorf("the last event is %+v", last)
		}
	})
}

func TestTroubleIsSaidOnceAndCostsFewAttempts(t *testing.T) {
	for name, h := range map[string]http.HandlerFunc{
		"no leader": func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "Could not determine the current leader", http.StatusBadGateway)
		},
		"not ready":    func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(200) },
		"unauthorized": func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "", http.StatusUnauthorized) },
		"in a circle": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://m2:8080/v2/events", http.StatusFound)
		},
		"not events": func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, strings.Repeat("<html>", 100)) },
		"REST is down": func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/v2/events" {
				http.Error(w, "", http.StatusServiceUnavailable)
				return
			}
			_, _ = io.WriteString(w, "event: event_stream_attached\r\ndata: {}\r\n\r\n")
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		},
		"REST is not JSON": func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/v2/events" {
				_, _ = io.WriteString(w, "{{{")
				return
			}
			_, _ = io.WriteString(w, "event: event_stream_attached\r\ndata: {}\r\n\r\n")
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		},
		"an endless answer": func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/v2/events" {
				for r.Context().Err() == nil {
					if _, err := w.Write(make([]byte, 1<<16)); err != nil {
						return
					}
				}
				return
			}
			_, _ = io.WriteString(w, "event: event_stream_attached\r\ndata: {}\r\n\r\n")
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		},
	} {
		t.Run(name, func(t *testing.T) {
			var out buffer
			tries := 0
			counted := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/v2/events" {
					tries++
				}
				h(w, r)
			})
			cfg := Config{Logger: slog.New(slog.NewTextHandler(&out, nil)), RetryMin: 500 * time.Millisecond, RetryMax: 15 * time.Second, MaxAnswer: 1 << 20}
			bubble(t, counted, cfg, func(t *testing.T, l *log, s *Source) {
				time.Sleep(10 * time.Minute)
				if st := s.Status(); st.Connected || st.LastError == "" || len(l.Events()) != 0 {
					t.Errorf("%+v, %d events", st, len(l.Events()))
				}
				if tries < 20 || tries > 100*4 {
					t.Errorf("%d attempts in ten minutes", tries)
				}
				if n := strings.Count(out.String(), "\n"); n != 1 {
					t.Errorf("%d lines:\n%s", n, out.String())
				}
			})
		})
	}
}

func TestHostileEventsAreCountedAndCostReads(t *testing.T) {
	f := newFake()
	bubble(t, f, Config{MaxEvent: 4096, Silence: time.Hour, Settle: time.Second}, func(t *testing.T, l *log, s *Source) {
		l.Until(t, "Marathon is known", known)
		f.write("event: group_change_success\r\ndata: " + strings.Repeat("x", 1<<20) + "\r\n\r\n")
		f.send("group_change_success", `{"groupId":7,"timestamp":[]}`)
		f.send("deployment_info", `{"plan":{"steps":7}}`)
		f.send("deployment_info", `{"plan":{"id":"d","steps":[7,[7],{"actions":7},[[]]]}}`)
		f.send("api_post_event", `{"appDefinition":7}`)
		f.send("nonsense", `"text"`)
		f.send("\x00\xff", "\xff\xfe")
		for i := range 500 {
			f.send("app_terminated_event", fmt.Sprintf(`{"appId":"/%d/../..%%2f%s"}`, i, strings.Repeat("/", i)))
		}
		time.Sleep(time.Minute)
		st := s.Status()
		if st.Counters.Malformed == 0 || st.Counters.Unknown == 0 || !st.Connected || st.Counters.Failures != 0 {
			t.Errorf("%+v", st)
		}
		if st.Counters.Reads > 50 {
			t.Errorf("%d reads", st.Counters.Reads)
		}
	})
}

// TestAFloodOfEventsIsBoundedInMemory, while Marathon is too slow to be read.
func TestAFloodOfEventsIsBoundedInMemory(t *testing.T) {
	s := fuzzed(newLog())
	s.queue = connect.NewQueue[wireEvent](1, 1)
	for i := range maxEnded + 1000 {
		name := fmt.Sprint("d", i)
		flood := []wireEvent{{Type: "deployment_success", ID: name}}
		if i < 1000 {
			plan := &wireDeployment{ID: "other" + name, Version: v2, Steps: []wireStep{{{App: "/" + name}, {Pod: "/p" + name}}}}
			flood = append(flood, wireEvent{Type: "deployment_info", Plan: plan}, wireEvent{Type: "group_change_success", GroupID: "/" + name})
		}
		for _, w := range flood {
			if err := s.queue.Put(t.Context(), w, 0); err != nil {
				t.Fatal(err)
			}
			if err := s.take(); err != nil {
				t.Fatal(err)
			}
		}
		if n := len(s.wants.groups) + len(s.wants.versions) + len(s.wants.apps); n > maxWants || len(s.ended) > maxEnded {
			t.Fatalf("after %d deployments %d reads and %d ended ones are kept", i, n, len(s.ended))
		}
	}
	long := strings.Repeat("x", 1<<20)
	s.hint(&wireEvent{Type: "deployment_failed", ID: long}, &s.wants)
	if _, kept := s.ended[long]; kept || !s.wants.all {
		t.Errorf("an id of a megabyte is kept: %v; everything is read: %v", kept, s.wants.all)
	}
}

type buffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// TestEachCauseOfAnOutageIsSaid: what began as a leader without members and
// became a refused password is not hidden by the first line.
func TestEachCauseOfAnOutageIsSaid(t *testing.T) {
	var out buffer
	var status atomic.Int32
	status.Store(http.StatusBadGateway)
	h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "", int(status.Load()))
	})
	cfg := Config{Logger: slog.New(slog.NewTextHandler(&out, nil)), RetryMin: 500 * time.Millisecond, RetryMax: 15 * time.Second}
	bubble(t, h, cfg, func(t *testing.T, _ *log, _ *Source) {
		for _, next := range []int32{http.StatusUnauthorized, http.StatusServiceUnavailable, http.StatusBadGateway} {
			time.Sleep(2 * time.Hour)
			status.Store(next)
		}
		time.Sleep(2 * time.Hour)
		causes := regexp.MustCompile(`says (\d+)`).FindAllString(out.String(), -1)
		if d := cmp.Diff([]string{"says 502", "says 401", "says 503", "says 502"}, causes); d != "" {
			t.Errorf("(-want +got)\n%s", d)
		}
	})
}
