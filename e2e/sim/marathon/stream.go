package marathon

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"time"
)

// stream is GET /v2/events, written on the bare connection because every byte
// counts: CRLF, no chunks, no ids, and a keep-alive whose CR and LF leave in
// separate writes (CLUSTER-API 1.1).
func (m *Marathon) stream(w http.ResponseWriter, r *http.Request) {
	if !slices.Contains(r.Header.Values("Accept"), "text/event-stream") {
		w.Header().Set("Content-Type", "text/html;charset=iso-8859-1")
		w.WriteHeader(http.StatusMethodNotAllowed)
		_, _ = io.WriteString(w, "HTTP method GET is not supported by this URL")
		return
	}
	var types map[string]bool
	if asked := r.URL.Query()["event_type"]; len(asked) > 0 {
		types = map[string]bool{}
		for _, t := range asked {
			types[t] = true
		}
	}
	leaderHeader := w.Header().Get("X-Marathon-Leader")
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		fail(w, http.StatusInternalServerError, err.Error())
		return
	}
	defer conn.Close()
	_, err = fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nDate: %s\r\nX-Marathon-Leader: %s\r\n"+
		"X-Frame-Options: DENY\r\nX-XSS-Protection: 1; mode=block\r\n"+
		"Cache-Control: no-cache, no-store, must-revalidate\r\nPragma: no-cache\r\nExpires: 0\r\n"+
		"Content-Type: text/event-stream;charset=utf-8\r\nConnection: close\r\n\r\n",
		m.cfg.Clock.Now().UTC().Format(http.TimeFormat), leaderHeader)
	if err != nil {
		return
	}
	// Only now, and not at once, is the client subscribed: what happens in
	// between is lost to it (CLUSTER-API 1.2).
	if !m.attachReady(conn) {
		return
	}
	s := m.bus.attach(types)
	remote, _, _ := net.SplitHostPort(r.RemoteAddr)
	m.publish("event_stream_attached", streamEvent{remote, m.head("event_stream_attached")})
	m.serve(conn, s)
	m.bus.detach(s)
	if m.ctx.Err() == nil {
		m.publish("event_stream_detached", streamEvent{remote, m.head("event_stream_detached")})
	}
}

// attachReady waits out the attach window; false when the leader is not ready
// for streams yet and closes.
func (m *Marathon) attachReady(net.Conn) bool {
	m.mu.Lock()
	ready := !m.cfg.Clock.Now().Before(m.readyFrom)
	m.mu.Unlock()
	if !ready {
		return false
	}
	if m.cfg.AttachLag > 0 {
		fired, stop := m.cfg.Clock.After(m.cfg.AttachLag)
		defer stop()
		select {
		case <-fired:
		case <-m.ctx.Done():
			return false
		}
	}
	return true
}

// serve writes events until the client leaves or is cut.
func (m *Marathon) serve(conn net.Conn, s *subscription) {
	if !m.work.Enter() {
		_ = conn.Close()
		return
	}
	defer m.work.Leave()
	gone := make(chan struct{})
	go func() { // ends when the connection does
		defer close(gone)
		_, _ = io.Copy(io.Discard, conn)
	}()
	defer func() { _ = conn.Close(); <-gone }()
	for {
		select {
		case <-s.cut:
			return
		default:
		}
		w := bufio.NewWriter(conn)
		for _, e := range s.take() {
			_, _ = fmt.Fprintf(w, "event: %s\r\ndata: %s\r\n\r\n", e.Type, e.Data)
		}
		// A client that does not read holds this write up; its events pile up
		// in the subscription meanwhile, until they are too many.
		if w.Buffered() > 0 && !m.flush(conn, w, s) {
			return
		}
		idle, stop := m.cfg.Clock.After(m.cfg.KeepAlive)
		select {
		case <-s.wake:
		case <-s.cut:
		case <-gone:
			stop()
			return
		case <-m.ctx.Done():
			stop()
			return
		case <-idle:
			for _, b := range []string{"\r", "\n"} {
				if _, err := io.WriteString(conn, b); err != nil {
					stop()
					return
				}
			}
		}
		stop()
	}
}

// flush writes a batch; a cut ends it.
func (m *Marathon) flush(conn net.Conn, w *bufio.Writer, s *subscription) bool {
	done := make(chan error, 1)
	go func() { done <- w.Flush() }() // ends with the write, which closing the connection ends
	select {
	case err := <-done:
		return err == nil
	case <-s.cut:
	case <-m.ctx.Done():
	}
	_ = conn.SetDeadline(time.Now())
	<-done //nolint:errcheck // it was cut on purpose
	return false
}
