// Package replay serves a recorded HTTP response byte for byte: the status
// line and headers as they were, the body in chunks if it came in chunks. It is
// for tests of clients against what a real server once sent.
package replay

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"os"
	"strings"
)

// Response is a recorded response. As a handler it gives the same answer to
// each request.
type Response struct {
	// Head is the status line and the header lines, without the empty one.
	Head []string
	Body []byte
	// Piece is how many bytes of the body go out at once, to split records at
	// odd places; 0: all.
	Piece int
	// Hold keeps the connection open and silent after the body, as a stream
	// without news.
	Hold bool
}

// Load reads a recording: a file of headers, in which lines that begin with #
// are remarks, and a file with the body without chunks.
func Load(headers, body string) (*Response, error) {
	h, err := os.ReadFile(headers)
	if err != nil {
		return nil, fmt.Errorf("load recording: %w", err)
	}
	b, err := os.ReadFile(body)
	if err != nil {
		return nil, fmt.Errorf("load recording: %w", err)
	}
	r := &Response{Body: b}
	for s := bufio.NewScanner(bytes.NewReader(h)); s.Scan(); {
		line := strings.TrimRight(s.Text(), "\r")
		if line != "" && !strings.HasPrefix(line, "#") {
			r.Head = append(r.Head, line)
		}
	}
	if len(r.Head) == 0 || !strings.HasPrefix(r.Head[0], "HTTP/1.1 ") {
		return nil, fmt.Errorf("load recording: %s has no status line", headers)
	}
	return r, nil
}

// Header is one header's value, "" if it was not recorded.
func (r *Response) Header(name string) string {
	for _, line := range r.Head[1:] {
		if k, v, ok := strings.Cut(line, ":"); ok && textproto.CanonicalMIMEHeaderKey(k) == textproto.CanonicalMIMEHeaderKey(name) {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// ServeHTTP answers with the recording and closes the connection, unless it is
// held until the client leaves.
func (r *Response) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	_, _ = io.Copy(io.Discard, req.Body)
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, strings.Join(r.Head, "\r\n")+"\r\n\r\n"); err != nil {
		return
	}
	chunked := r.Header("Transfer-Encoding") == "chunked"
	piece := r.Piece
	if piece <= 0 {
		piece = max(len(r.Body), 1)
	}
	for body := r.Body; len(body) > 0; {
		n := min(piece, len(body))
		out := body[:n]
		if chunked {
			out = fmt.Appendf(nil, "%x\r\n%s\r\n", n, out)
		}
		if _, err := conn.Write(out); err != nil {
			return
		}
		body = body[n:]
	}
	if r.Hold {
		_, _ = io.Copy(io.Discard, conn)
		return
	}
	if chunked {
		_, _ = io.WriteString(conn, "0\r\n\r\n")
	}
}
