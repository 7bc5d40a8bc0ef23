package mesos

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/taskwall/taskwall/events"
)

// log is a Sink in memory that folds what it takes, once per id.
type log struct {
	mu      sync.Mutex
	seen    map[string]bool
	evs     []events.Event
	cluster *events.Cluster
	fail    func(n int) error // for the n-th Append
	appends int
	changed chan struct{}
	// patience is how long until waits; in a synctest bubble it costs nothing.
	patience time.Duration
}

func newLog() *log {
	return &log{seen: map[string]bool{}, cluster: events.NewCluster(), changed: make(chan struct{}), patience: 20 * time.Second}
}

func (l *log) Append(_ context.Context, evs ...events.Event) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.appends++
	if l.fail != nil {
		if err := l.fail(l.appends); err != nil {
			return err
		}
	}
	for _, e := range evs {
		if l.seen[e.ID] {
			continue
		}
		l.seen[e.ID] = true
		// As the real log does: what cannot be read back does not count.
		b, err := json.Marshal(e)
		if err != nil {
			return err
		}
		var back events.Event
		if err := json.Unmarshal(b, &back); err != nil {
			return err
		}
		l.evs = append(l.evs, back)
		l.cluster.Apply(back)
	}
	close(l.changed)
	l.changed = make(chan struct{})
	return nil
}

func (l *log) folded() *events.Cluster {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cluster.Clone()
}

func (l *log) events() []events.Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]events.Event(nil), l.evs...)
}

// until waits for the folded picture to satisfy ok.
func (l *log) until(t testing.TB, what string, ok func(*events.Cluster) bool) {
	t.Helper()
	deadline := time.After(l.patience)
	for {
		l.mu.Lock()
		done, changed := ok(l.cluster), l.changed
		l.mu.Unlock()
		if done {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("never: %s", what)
		}
	}
}

// start runs a source against masters until the test ends.
func start(t testing.TB, cfg Config, sink Sink, known *events.Cluster) *Source {
	t.Helper()
	s, err := New(cfg, sink, known)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case <-done:
		case <-time.After(10 * time.Second):
			t.Error("Run did not return when its context ended")
		}
	})
	return s
}

func recording(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// replay is a master that serves recorded bytes to SUBSCRIBE, then keeps the
// connection open, and recorded answers to the GET calls.
type replay struct {
	enc     Encoding
	stream  []byte
	answers map[string][]byte
	write   func(ctx context.Context, w io.Writer, b []byte) // default: at once
}

func (r *replay) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, _ := io.ReadAll(req.Body)
	for name, answer := range r.answers {
		if call := callNamed(name); string(body) == string(r.enc.call(call)) {
			w.Header().Set("Content-Type", r.enc.mediaType())
			_, _ = w.Write(answer)
			return
		}
	}
	if string(body) != string(r.enc.call(callNamed("SUBSCRIBE"))) {
		http.Error(w, "no answer recorded", http.StatusNotImplemented)
		return
	}
	w.Header().Set("Content-Type", r.enc.mediaType())
	if r.write != nil {
		r.write(req.Context(), w, r.stream)
	} else {
		_, _ = w.Write(r.stream)
	}
	w.(http.Flusher).Flush()
	<-req.Context().Done()
}

func serve(t testing.TB, h http.Handler) string {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(func() {
		srv.CloseClientConnections()
		srv.Close()
	})
	return srv.URL
}
