package mesos

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/mirror/mirrortest"
)

type log = mirrortest.Log

var newLog = mirrortest.NewLog

// start runs a source against masters until the test ends.
func start(t testing.TB, cfg Config, sink Sink, known *events.Cluster) *Source {
	t.Helper()
	s, err := New(cfg, sink, known)
	if err != nil {
		t.Fatal(err)
	}
	mirrortest.Run(t, s.Run)
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
