package marathon

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/taskwall/taskwall/events"
)

// A big cluster's apps are tens of megabytes, which a busy Marathon takes its
// time to write: an answer that arrives, however slowly, is waited for.
func TestALargeAnswerThatArrivesSlowlyIsTaken(t *testing.T) {
	const apps = 1000
	var list strings.Builder
	for i := range apps {
		if i > 0 {
			list.WriteByte(',')
		}
		list.WriteString(app(fmt.Sprintf("/shop/app-%d", i), v1, `,"cmd2":"`+strings.Repeat("x", 1000)+`"`))
	}
	answer := group(list.String(), "")
	if len(answer) < 1<<20 {
		t.Fatalf("%d bytes fit into one read", len(answer))
	}
	f := newFake()
	f.before = func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/v2/groups" {
			return false
		}
		const parts = 8
		for i := range parts {
			_, _ = io.WriteString(w, answer[i*len(answer)/parts:(i+1)*len(answer)/parts])
			w.(http.Flusher).Flush()
			time.Sleep(20 * time.Second)
		}
		return true
	}
	bubble(t, f, Config{Silence: time.Hour}, func(t *testing.T, l *log, s *Source) {
		l.Until(t, "all apps are known", func(c *events.Cluster) bool { return len(c.Apps) == apps })
		if st := s.Status().Counters; st.Failures != 0 || st.Malformed != 0 {
			t.Errorf("%+v", st)
		}
	})
}

// One that stops in its middle, or never ends, is given up.
func TestAnAnswerThatStopsIsGivenUp(t *testing.T) {
	for name, tt := range map[string]struct {
		pause time.Duration // between bytes
		most  time.Duration
	}{
		"it stops":    {time.Hour, time.Minute},
		"it trickles": {20 * time.Second, 6 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			var healed atomic.Bool
			f := newFake()
			shows(v1)(f)
			f.before = func(w http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path != "/v2/groups" || healed.Load() {
					return false
				}
				for {
					_, _ = io.WriteString(w, " ")
					w.(http.Flusher).Flush()
					select {
					case <-time.After(tt.pause):
					case <-r.Context().Done():
						return true
					}
				}
			}
			bubble(t, f, Config{Silence: 24 * time.Hour}, func(t *testing.T, l *log, s *Source) {
				time.Sleep(tt.most)
				if st := s.Status(); st.Counters.Failures == 0 || st.Connected {
					t.Errorf("after %v: %+v", tt.most, st)
				}
				healed.Store(true)
				l.Until(t, "the app is known", appIs("/shop/web", v1))
			})
		})
	}
}

// TestAStormDoesNotMakeEverythingBeReadWithoutEnd: each time costs the leader of
// a big cluster seconds of work.
func TestAStormDoesNotMakeEverythingBeReadWithoutEnd(t *testing.T) {
	for name, storm := range map[string]func(f *fake, i int){
		"of many groups":     func(f *fake, i int) { sends("group_change_success", fmt.Sprintf(`"groupId":"/g%d"`, i))(f) },
		"of apps at the top": func(f *fake, _ int) { sends("group_change_success", `"groupId":"/"`)(f) },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake()
			shows(v1)(f)
			f.before = func(_ http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path == "/v2/groups" {
					time.Sleep(5 * time.Second)
				}
				return false
			}
			bubble(t, f, Config{Silence: time.Hour, Settle: 200 * time.Millisecond}, func(t *testing.T, l *log, s *Source) {
				l.Until(t, "the app is known", appIs("/shop/web", v1))
				before := s.Status().Counters
				for range 100 {
					for i := range 100 {
						storm(f, i)
					}
					time.Sleep(time.Second)
				}
				shows(v2)(f)
				storm(f, 0)
				// 100 s of storm: one reading takes 5 s, and rests for 20.
				if n := s.Status().Counters.Snapshots - before.Snapshots; n < 2 || n > 5 {
					t.Errorf("everything was read %d times", n)
				}
				l.Until(t, "what changed last is known", appIs("/shop/web", v2))
				if st := s.Status().Counters; st.Failures != 0 || st.Reads > 200 {
					t.Errorf("%+v", st)
				}
			})
		})
	}
}
