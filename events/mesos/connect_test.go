package mesos

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/taskwall/taskwall/events"
)

// TestTheLeaderIsFound among members that are down, starting, recovering or
// standing by.
func TestTheLeaderIsFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, l := newNetwork(), newLog()
		starting, recovering, standby, leader := newFakeMaster(t), newFakeMaster(t), newFakeMaster(t), running(t)
		starting.status = http.StatusNotFound
		recovering.status = http.StatusServiceUnavailable
		standby.status = http.StatusTemporaryRedirect
		standby.header = http.Header{"Location": {"//m5:5050/api/v1"}}
		n.serve(t, "m2:5050", starting)
		n.serve(t, "m3:5050", recovering)
		n.serve(t, "m4:5050", standby)
		n.serve(t, "m5:5050", leader)
		s := start(t, Config{
			Masters: []string{"m1:5050", "m2:5050", "m3:5050", "m4:5050", "m5:5050"}, Encoding: JSON, Dial: n.dial,
			User: "taskwall", Password: "secret",
		}, l, nil)
		l.Until(t, "the leader's task is known", taskIs("fw/t1", "TASK_RUNNING"))
		synctest.Wait()
		if st := s.Status(); !st.Connected || st.Leader != "m5:5050" {
			t.Errorf("status %+v", st)
		}
		if leader.auths[0] != "Basic dGFza3dhbGw6c2VjcmV0" {
			t.Errorf("the leader was given %q", leader.auths)
		}
	})
}

func TestARedirectElsewhereGetsNoCredentials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, l := newNetwork(), newLog()
		standby, elsewhere := newFakeMaster(t), running(t)
		standby.status = http.StatusTemporaryRedirect
		standby.header = http.Header{"Location": {"//elsewhere:5050/api/v1"}}
		n.serve(t, "m1:5050", standby)
		n.serve(t, "elsewhere:5050", elsewhere)
		start(t, Config{Masters: []string{"m1:5050"}, Encoding: JSON, Dial: n.dial, Token: "secret"}, l, nil)
		l.Until(t, "the task is known", taskIs("fw/t1", "TASK_RUNNING"))
		if standby.auths[0] != "token=secret" || elsewhere.auths[0] != "" {
			t.Errorf("standby got %q, elsewhere %q", standby.auths, elsewhere.auths)
		}
	})
}

// TestAServerThatAnswersNonsenseDoesNotHideTheOthers: a proxy, for one, whose
// error page is a 200.
func TestAServerThatAnswersNonsenseDoesNotHideTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, l := newNetwork(), newLog()
		n.serve(t, "m1:5050", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write([]byte("5\n{}\n{}"))
		}))
		n.serve(t, "m2:5050", running(t))
		start(t, Config{Masters: []string{"m1:5050", "m2:5050"}, Encoding: JSON, Dial: n.dial}, l, nil)
		l.Until(t, "the other is followed", taskIs("fw/t1", "TASK_RUNNING"))
	})
}

func TestRedirectsInACircleEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, l := newNetwork(), newLog()
		a, b := newFakeMaster(t), newFakeMaster(t)
		a.status, a.header = 307, http.Header{"Location": {"//m2:5050/api/v1"}}
		b.status, b.header = 307, http.Header{"Location": {"//m1:5050/api/v1"}}
		n.serve(t, "m1:5050", a)
		n.serve(t, "m2:5050", b)
		s := start(t, Config{Masters: []string{"m1:5050", "m2:5050"}, Encoding: JSON, Dial: n.dial}, l, nil)
		time.Sleep(time.Minute)
		if st := s.Status(); st.Connected || !strings.Contains(st.LastError, "redirects") {
			t.Errorf("status %+v", st)
		}
		// With waits of up to 10 s and two members of four hops each:
		if c := a.count("SUBSCRIBE"); c > 20*4 {
			t.Errorf("%d attempts in a minute", c)
		}
	})
}

// TestAFailoverIsSaidOnce: an hour without a master is one line in the log for
// each cause: the stream that broke, and the masters that refuse.
func TestAFailoverIsSaidOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out safeBuffer
		n, l := newNetwork(), newLog()
		first, second := running(t), running(t)
		stop := n.serve(t, "m1:5050", first)
		s := start(t, Config{
			Masters: []string{"m1:5050", "m2:5050"}, Encoding: JSON, Dial: n.dial,
			Logger: slog.New(slog.NewTextHandler(&out, nil)),
		}, l, nil)
		l.Until(t, "the task is known", taskIs("fw/t1", "TASK_RUNNING"))
		stop()
		time.Sleep(time.Hour)
		if st := s.Status(); st.Connected || st.LastError == "" || st.Counters.Failures < 100 {
			t.Errorf("while there is no master: %+v", st)
		}
		second.state.Tasks.Tasks = append(second.state.Tasks.Tasks, wTask("t2", "a1", "TASK_STAGING"))
		n.serve(t, "m2:5050", second)
		l.Until(t, "the new leader's task is known", taskIs("fw/t2", "TASK_STAGING"))
		synctest.Wait()
		if got := strings.Count(out.String(), "\n"); got != 4 {
			t.Errorf("%d lines, want connected, broken, refused, connected:\n%s", got, out.String())
		}
		if st := s.Status(); st.Leader != "m2:5050" || !st.Connected {
			t.Errorf("status %+v", st)
		}
	})
}

// TestASilentStreamIsLeft: a master that evicts a subscriber leaves the
// connection open (recordings: 6-reconnect, json3).
func TestASilentStreamIsLeft(t *testing.T) {
	for beats, longest := range map[float64]time.Duration{
		15:  45*time.Second + 15*time.Second,
		5:   15*time.Second + 15*time.Second,
		0:   60 * time.Second, // not announced
		1e9: 4 * time.Minute,  // not believable
	} {
		synctest.Test(t, func(t *testing.T) {
			m := running(t)
			m.beats, m.mute = beats, true
			s, l := one(t, Config{}, m, nil)
			l.Until(t, "the task is known", taskIs("fw/t1", "TASK_RUNNING"))
			m.change(func(m *fakeMaster) {
				m.state.Tasks.Tasks = append(m.state.Tasks.Tasks, wTask("t2", "a1", "TASK_STAGING"))
			})
			began := time.Now()
			l.Until(t, "what happened meanwhile is known", taskIs("fw/t2", "TASK_STAGING"))
			if d := time.Since(began); d > longest {
				t.Errorf("interval %v: took %v", beats, d)
			}
			if got := s.Status().LastError; !strings.Contains(got, ErrSilent.Error()) {
				t.Errorf("last error %q", got)
			}
		})
	}
}

// TestAStreamThatNeverLastsIsAskedForEverMoreRarely: each costs the master and
// us a whole snapshot. One that breaks after a while is followed again at once.
func TestAStreamThatNeverLastsIsAskedForEverMoreRarely(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := running(t)
		go func() {
			for {
				select {
				case <-m.opened:
					time.Sleep(100 * time.Millisecond)
					m.drop()
				case <-t.Context().Done():
					return
				}
			}
		}()
		_, l := one(t, Config{Rand: func() float64 { return 0.5 }}, m, nil)
		l.Until(t, "the task is known", taskIs("fw/t1", "TASK_RUNNING"))
		time.Sleep(time.Hour)
		if n := m.count("SUBSCRIBE"); n < 400 || n > 500 {
			t.Errorf("%d subscriptions in an hour", n)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		m := running(t)
		_, l := one(t, Config{}, m, nil)
		l.Until(t, "the task is known", taskIs("fw/t1", "TASK_RUNNING"))
		<-m.opened
		for range 10 {
			time.Sleep(time.Minute)
			m.drop()
			began := time.Now()
			<-m.opened
			if took := time.Since(began); took > 250*time.Millisecond {
				t.Errorf("away for %v", took)
			}
		}
	})
}

func TestHeartbeatsKeepAQuietStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := running(t)
		s, l := one(t, Config{Resync: 1000 * time.Hour}, m, nil)
		l.Until(t, "the task is known", taskIs("fw/t1", "TASK_RUNNING"))
		time.Sleep(10 * time.Hour)
		if m.subs != 1 || s.Status().Counters.Failures != 0 {
			t.Errorf("%d subscriptions, %+v", m.subs, s.Status())
		}
	})
}

func TestAHostileStreamCostsWaitsNotTheProcess(t *testing.T) {
	for name, body := range map[string]string{
		"nothing":             "",
		"not RecordIO":        "<html>",
		"a length too large":  "999999999999999999999\n",
		"over the limit":      "1048577\n" + strings.Repeat("x", 100),
		"never sent":          "1048576\nabc",
		"a negative length":   "-1\n",
		"no snapshot first":   frame(`{"type":"HEARTBEAT"}`) + frame(`{"type":"TASK_ADDED","task_added":{}}`),
		"a snapshot of none":  frame(`{"type":"SUBSCRIBED"}`),
		"garbage in a record": frame("\x00\xff{{{"),
		"deep nesting":        frame(strings.Repeat(`{"task_added":`, 100_000)),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n, l := newNetwork(), newLog()
				hits := 0
				n.serve(t, "m1:5050", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					hits++
					w.Header().Set("Content-Type", "application/json")
					_, _ = w.Write([]byte(body))
				}))
				s := start(t, Config{Masters: []string{"m1:5050"}, Encoding: JSON, Dial: n.dial, MaxRecord: 1 << 20}, l, nil)
				time.Sleep(5 * time.Minute)
				if st := s.Status(); st.Connected || st.LastError == "" {
					t.Errorf("status %+v", st)
				}
				if hits < 10 || hits > 80 {
					t.Errorf("%d attempts in five minutes", hits)
				}
				if len(l.Events()) != 0 {
					t.Errorf("events %v", l.Events())
				}
			})
		})
	}
}

func TestTLSMasters(t *testing.T) {
	m := running(t)
	srv := httptest.NewTLSServer(m)
	t.Cleanup(func() { srv.CloseClientConnections(); srv.Close() })
	roots := x509.NewCertPool()
	roots.AddCert(srv.Certificate())
	l := newLog()
	start(t, Config{Masters: []string{strings.TrimPrefix(srv.URL, "https://")}, Encoding: JSON, TLS: &tls.Config{RootCAs: roots}}, l, nil)
	l.Until(t, "the task is known", taskIs("fw/t1", "TASK_RUNNING"))
}

func TestALogThatIsDownDelaysEventsAndLosesNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := running(t)
		n, l := newNetwork(), newLog()
		var down atomic.Bool
		down.Store(true)
		l.Fail = func() error {
			if down.Load() {
				return http.ErrServerClosed
			}
			return nil
		}
		n.serve(t, "m1:5050", m)
		s := start(t, Config{Masters: []string{"m1:5050"}, Encoding: JSON, Dial: n.dial}, l, nil)
		<-m.opened
		for i := range 3 * maxQueued {
			m.say(updated("t1", "TASK_RUNNING", float64(2000+i)))
		}
		m.say(updated("t1", "TASK_KILLED", 1e6))
		time.Sleep(10 * time.Minute)
		if st := s.Status(); st.Counters.Retries == 0 || st.Counters.Events != 0 {
			t.Errorf("while the log is down: %+v", st)
		}
		down.Store(false)
		l.Until(t, "the end is known", taskIs("fw/t1", "TASK_KILLED"))
		if m.subs != 1 {
			t.Errorf("%d subscriptions: the stream was given up though only we were slow", m.subs)
		}
	})
}

func TestRunEndsWithItsContextWhateverItIsDoing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// start's cleanup checks that Run returns.
		m := running(t)
		_, l := one(t, Config{}, m, nil)
		l.Until(t, "the task is known", taskIs("fw/t1", "TASK_RUNNING"))
	})
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		start(t, Config{Masters: []string{"nowhere:5050"}, Dial: n.dial}, newLog(), nil)
		time.Sleep(time.Minute)
	})
}

func TestConfigurationThatCannotWorkIsRefused(t *testing.T) {
	for _, masters := range [][]string{nil, {"ftp://x"}, {"http://"}} {
		if _, err := New(Config{Masters: masters}, newLog(), events.NewCluster()); err == nil {
			t.Errorf("%q is accepted", masters)
		}
	}
}

type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// A call that is never answered, or not to its end, holds neither the stream nor
// the calls after it up for longer than its timeout.
func TestACallWithoutAnAnswerIsGivenUp(t *testing.T) {
	for name, begun := range map[string]bool{"no answer": false, "headers only": true} {
		t.Run(name, func(t *testing.T) {
			story(t, Config{CallTimeout: 15 * time.Second, PollAgents: 30 * time.Second}, func(m *fakeMaster, s *Source, l *log) {
				held := make(chan struct{})
				defer close(held)
				m.change(func(m *fakeMaster) { m.held, m.begun = held, begun })
				time.Sleep(5 * time.Minute)
				if asked := m.count("GET_AGENTS"); asked < 5 || s.Status().Counters.PollFails < 5 {
					t.Errorf("asked %d times, %d failed", asked, s.Status().Counters.PollFails)
				}
				began, staging := time.Now(), pod("p1.web", "pod1", "TASK_STAGING")
				m.change(func(m *fakeMaster) { m.state.Tasks.Tasks = append(m.state.Tasks.Tasks, staging) })
				m.say(added(staging)) // GET_EXECUTORS is asked first, and again when the state is compared meanwhile
				l.Until(t, "the task is told of", taskIs("fw/p1.web", "TASK_STAGING"))
				if d := time.Since(began); d > 35*time.Second {
					t.Errorf("told of after %v", d)
				}
			})
		})
	}
}
