package marathon

import (
	"cmp"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/mirror/mirrortest"
)

type log = mirrortest.Log

var newLog = mirrortest.NewLog

// fake is a Marathon that does what the test says.
type fake struct {
	mu      sync.Mutex
	answers map[string]string // by path, without query
	streams []chan string     // one per open stream
	opened  chan struct{}     // gets a token for each stream
	reads   []string
	user    string // if set, Basic credentials are asked for
	// attach is false for a Marathon that is not ready: 200, then the end.
	attach bool
	// before is called when a request has come, before it is answered; it may
	// answer itself, and returns true then.
	before func(w http.ResponseWriter, r *http.Request) bool
}

func newFake() *fake {
	return &fake{attach: true, opened: make(chan struct{}, 100), answers: map[string]string{
		"/v2/info":        `{"name":"marathon","version":"1.11.0","frameworkId":"fw-1","leader":"m1:8080","marathon_config":{"framework_name":"shop"}}`,
		"/v2/groups":      `{"id":"/","version":"2026-01-01T00:00:00.000Z","apps":[],"pods":[],"groups":[]}`,
		"/v2/deployments": `[]`,
	}}
}

func (f *fake) set(path, answer string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answers[path] = answer
}

func (f *fake) requests() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.reads...)
}

// send writes an event to all open streams.
func (f *fake) send(typ, data string) {
	f.write(fmt.Sprintf("event: %s\r\ndata: %s\r\n\r\n", typ, strings.ReplaceAll(data, "\n", "")))
}

func (f *fake) write(s string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.streams {
		c <- s
	}
}

// drop ends all open streams.
func (f *fake) drop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.streams {
		close(c)
	}
	f.streams = nil
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if f.before != nil && f.before(w, r) {
		return
	}
	if user, _, _ := r.BasicAuth(); f.user != "" && user != f.user {
		w.Header().Set("WWW-Authenticate", `Basic realm="Mesosphere"`)
		http.Error(w, "who are you", http.StatusUnauthorized)
		return
	}
	if r.URL.Path == "/v2/events" {
		f.events(w, r)
		return
	}
	f.mu.Lock()
	f.reads = append(f.reads, r.URL.Path)
	answer, ok := f.answers[r.URL.Path]
	f.mu.Unlock()
	if !ok {
		http.Error(w, `{"message":"not there"}`, http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, answer)
}

func (f *fake) events(w http.ResponseWriter, r *http.Request) {
	if !contains(r.Header.Values("Accept"), "text/event-stream") {
		http.Error(w, "HTTP method GET is not supported by this URL", http.StatusMethodNotAllowed)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream;charset=utf-8")
	w.WriteHeader(http.StatusOK)
	w.(http.Flusher).Flush()
	f.mu.Lock()
	if !f.attach {
		f.mu.Unlock()
		f.opened <- struct{}{}
		return
	}
	c := make(chan string, 1000)
	f.streams = append(f.streams, c)
	c <- "event: event_stream_attached\r\ndata: {\"remoteAddress\":\"127.0.0.1\",\"eventType\":\"event_stream_attached\",\"timestamp\":\"2026-01-01T00:00:00.000Z\"}\r\n\r\n"
	f.mu.Unlock()
	f.opened <- struct{}{}
	for {
		select {
		case s, open := <-c:
			if !open {
				panic(http.ErrAbortHandler)
			}
			_, _ = io.WriteString(w, s)
			w.(http.Flusher).Flush()
		case <-r.Context().Done():
			return
		}
	}
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if strings.EqualFold(x, s) {
			return true
		}
	}
	return false
}

func serve(t testing.TB, h http.Handler) *httptest.Server {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(func() {
		srv.CloseClientConnections()
		srv.Close()
	})
	return srv
}

// start runs a source against members until the test ends.
func start(t testing.TB, cfg Config, sink Sink, known *events.Cluster) *Source {
	t.Helper()
	cfg.Settle = cmp.Or(cfg.Settle, time.Millisecond)
	cfg.RetryMin = cmp.Or(cfg.RetryMin, time.Millisecond)
	cfg.RetryMax = cmp.Or(cfg.RetryMax, 20*time.Millisecond)
	s, err := New(cfg, sink, known)
	if err != nil {
		t.Fatal(err)
	}
	mirrortest.Run(t, s.Run)
	return s
}
