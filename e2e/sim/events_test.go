package sim_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/taskwall/taskwall/e2e/sim"
)

// sse is a bare connection to an event stream, so that tests see each byte.
type sse struct {
	t    *testing.T
	conn net.Conn
	r    *bufio.Reader
	head string
	err  error // why the stream ended
}

func openEvents(t *testing.T, url, query string) *sse {
	t.Helper()
	s := dialEvents(t, url, query, "text/event-stream")
	if !strings.HasPrefix(s.head, "HTTP/1.1 200 OK\r\n") {
		t.Fatalf("stream: %s", s.head)
	}
	return s
}

func dialEvents(t *testing.T, url, query, accept string) *sse {
	t.Helper()
	addr := strings.TrimPrefix(url, "http://")
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	_ = conn.(*net.TCPConn).SetReadBuffer(64 << 10)
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	fmt.Fprintf(conn, "GET /v2/events%s HTTP/1.1\r\nHost: %s\r\nAccept: %s\r\n\r\n", query, addr, accept)
	s := &sse{t: t, conn: conn, r: bufio.NewReader(conn)}
	for {
		line, err := s.r.ReadString('\n')
		s.head += line
		if err != nil || line == "\r\n" {
			return s
		}
	}
}

// next is the next record's type and data; "" at the end of the stream.
func (s *sse) next() (kind string, data map[string]any) {
	s.t.Helper()
	for {
		line, err := s.r.ReadString('\n')
		if err != nil {
			s.err = err
			return "", nil
		}
		if line == "\r\n" {
			continue // a keep-alive
		}
		if !strings.HasSuffix(line, "\r\n") {
			s.t.Fatalf("line %q", line)
		}
		kind, ok := strings.CutPrefix(strings.TrimSuffix(line, "\r\n"), "event: ")
		body, _ := s.r.ReadString('\n')
		blank, _ := s.r.ReadString('\n')
		body, isData := strings.CutPrefix(strings.TrimSuffix(body, "\r\n"), "data: ")
		if !ok || !isData || blank != "\r\n" {
			s.t.Fatalf("record %q %q %q", line, body, blank)
		}
		if err := json.Unmarshal([]byte(body), &data); err != nil {
			s.t.Fatal(err)
		}
		if data["eventType"] != kind || !regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$`).MatchString(fmt.Sprint(data["timestamp"])) {
			s.t.Errorf("record %s: %v", kind, data)
		}
		return kind, data
	}
}

// TestEventStreamOnTheWire: every byte of the stream is as Jetty writes it.
func TestEventStreamOnTheWire(t *testing.T) {
	c := paperCluster(t, func(cfg *sim.Config) { cfg.KeepAlive = 5 * time.Millisecond })
	s := openEvents(t, c.MarathonURL(), "")
	for _, h := range []string{"Content-Type: text/event-stream;charset=utf-8\r\n", "Connection: close\r\n", "X-Marathon-Leader: " + c.MarathonURL() + "\r\n",
		"Cache-Control: no-cache, no-store, must-revalidate\r\n"} {
		if !strings.Contains(s.head, h) {
			t.Errorf("no %q in %s", h, s.head)
		}
	}
	if strings.Contains(s.head, "chunked") || strings.Contains(s.head, "Content-Length") {
		t.Errorf("framed: %s", s.head)
	}
	raw, err := s.r.ReadString('}')
	if err != nil || !regexp.MustCompile(`^event: event_stream_attached\r\ndata: \{"remoteAddress":"127\.0\.0\.1","eventType":"event_stream_attached","timestamp":"[^"]+"\}$`).MatchString(raw) {
		t.Errorf("first record %q, %v", raw, err)
	}
	rest := make([]byte, 8)
	if _, err := io.ReadFull(s.r, rest); err != nil || string(rest) != "\r\n\r\n\r\n\r\n" { // the record's end and two keep-alives
		t.Errorf("then %q, %v", rest, err)
	}
	for _, accept := range []string{"*/*", "text/event-stream, */*", "application/json"} {
		if s := dialEvents(t, c.MarathonURL(), "", accept); !strings.HasPrefix(s.head, "HTTP/1.1 405 ") {
			t.Errorf("Accept %s: %s", accept, s.head)
		}
	}
}

// collect reads records until one satisfies the last condition.
func (s *sse) collect(until func(kind string, data map[string]any) bool) []map[string]any {
	s.t.Helper()
	var out []map[string]any
	for {
		kind, data := s.next()
		if kind == "" {
			s.t.Fatalf("the stream ended after %v", out)
		}
		out = append(out, data)
		if until(kind, data) {
			return out
		}
	}
}

func isKind(want string) func(string, map[string]any) bool {
	return func(kind string, _ map[string]any) bool { return kind == want }
}
