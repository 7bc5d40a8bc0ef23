package wire

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// The media types of the v1 APIs.
const (
	mediaJSON  = "application/json"
	mediaProto = "application/x-protobuf"
)

// maxBody bounds a call: the largest real ones are ACCEPTs of some hundred kB.
const maxBody = 64 << 20

// Call is a request message of mesos-go.
type Call interface {
	Unmarshal([]byte) error
	UnmarshalJSON([]byte) error
}

// Message is a response message of mesos-go.
type Message interface{ Marshal() ([]byte, error) }

// Endpoint says how a v1 endpoint of one server treats a request.
type Endpoint struct {
	// Name is what its complaints call a call, e.g. "master::Call".
	Name string
	// Realm and Users turn on Basic authentication when Users is not empty.
	Realm string
	Users map[string]string
}

// Exchange is one accepted call and how to answer it.
type Exchange struct {
	w    http.ResponseWriter
	r    *http.Request
	json bool
}

// Open checks a request and decodes its body into call; valid says what is
// wrong with the decoded call, "" for nothing. When Open returns nil it has
// answered already.
//
// The texts are those of a 1.12 master.
func (e Endpoint) Open(w http.ResponseWriter, r *http.Request, call Call, valid func() string) *Exchange {
	if !e.Authenticate(w, r) {
		return nil
	}
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", "POST")
		Text(w, http.StatusMethodNotAllowed, fmt.Sprintf(
			"405 Method Not Allowed. Expecting one of { 'POST' }, but received '%s'.", r.Method))
		return nil
	}
	if r.Header.Get("Content-Type") == "" {
		Text(w, http.StatusBadRequest, "Expecting 'Content-Type' to be present")
		return nil
	}
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != mediaJSON && kind != mediaProto {
		Text(w, http.StatusUnsupportedMediaType, "Expecting 'Content-Type' of application/json or application/x-protobuf")
		return nil
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody))
	if err != nil {
		Text(w, http.StatusBadRequest, "Failed to read body: "+err.Error())
		return nil
	}
	if complaint := e.decode(kind, body, call); complaint != "" {
		Text(w, http.StatusBadRequest, complaint)
		return nil
	}
	if complaint := valid(); complaint != "" {
		Text(w, http.StatusBadRequest, "Failed to validate "+e.Name+": "+complaint)
		return nil
	}
	switch {
	case accepts(r, mediaJSON):
		return &Exchange{w, r, true}
	case accepts(r, mediaProto):
		return &Exchange{w, r, false}
	}
	Text(w, http.StatusNotAcceptable, "Expecting 'Accept' to allow 'application/x-protobuf' or 'application/json'")
	return nil
}

func (e Endpoint) decode(kind string, body []byte, call Call) string {
	if kind == mediaProto {
		if call.Unmarshal(body) != nil {
			return "Failed to parse body into Call protobuf"
		}
		return ""
	}
	if !json.Valid(body) {
		near := strings.TrimLeft(string(body), "{ \t\r\n\"")
		return "Failed to parse body into JSON: syntax error at line 1 near: " + near
	}
	if err := call.UnmarshalJSON(body); err != nil {
		if strings.Contains(err.Error(), "Type") { // an unknown enum value leaves the field unset in Mesos
			return "Failed to validate " + e.Name + ": Expecting 'type' to be present"
		}
		return "Failed to convert JSON into Call protobuf: " + err.Error()
	}
	return ""
}

// Authenticate checks Basic credentials if the endpoint asks for them; when it
// returns false it has answered 401.
func (e Endpoint) Authenticate(w http.ResponseWriter, r *http.Request) bool {
	if len(e.Users) == 0 {
		return true
	}
	user, password, ok := r.BasicAuth()
	if want, known := e.Users[user]; ok && known && want == password {
		return true
	}
	w.Header().Set("WWW-Authenticate", fmt.Sprintf("Basic realm=%q", e.Realm))
	w.WriteHeader(http.StatusUnauthorized)
	return false
}

// accepts reports whether a request's Accept header allows a media type; an
// absent one allows all.
func accepts(r *http.Request, media string) bool {
	values := r.Header.Values("Accept")
	if len(values) == 0 {
		return true
	}
	group, _, _ := strings.Cut(media, "/")
	for item := range strings.SplitSeq(strings.Join(values, ","), ",") {
		kind, _, _ := strings.Cut(strings.TrimSpace(item), ";")
		if kind == media || kind == "*/*" || kind == group+"/*" {
			return true
		}
	}
	return false
}

// Text answers in plain text with a length, as libprocess does.
func Text(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body)
}

// JSON reports whether the answer is JSON, not protobuf.
func (x *Exchange) JSON() bool { return x.json }

// Accepted answers 202 without a body.
func (x *Exchange) Accepted() { x.w.WriteHeader(http.StatusAccepted) }

// gzipMin is libprocess' GZIP_MINIMUM_BODY_LENGTH.
const gzipMin = 1024

// Reply answers 200 with one message.
func (x *Exchange) Reply(p Printer, m Message) {
	body := x.encode(p, m)
	h := x.w.Header()
	h.Set("Content-Type", x.media())
	if len(body) >= gzipMin && strings.Contains(x.r.Header.Get("Accept-Encoding"), "gzip") {
		var packed bytes.Buffer
		z := gzip.NewWriter(&packed)
		_, _ = z.Write(body)
		_ = z.Close()
		body = packed.Bytes()
		h.Set("Content-Encoding", "gzip")
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	_, _ = x.w.Write(body)
}

// ReplyJSON answers 200 with ready-made JSON.
func ReplyJSON(w http.ResponseWriter, body []byte) {
	w.Header().Set("Content-Type", mediaJSON)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	_, _ = w.Write(body)
}

func (x *Exchange) media() string {
	if x.json {
		return mediaJSON
	}
	return mediaProto
}

func (x *Exchange) encode(p Printer, m Message) []byte {
	if x.json {
		return p.JSON(m)
	}
	b, err := m.Marshal()
	if err != nil {
		panic(fmt.Sprintf("wire: marshal %T: %v", m, err)) // a required field that the simulator forgot
	}
	return b
}

// Encode is a message in the exchange's codec, framed as one record.
func (x *Exchange) Encode(p Printer, m Message) []byte {
	body := x.encode(p, m)
	b := strconv.AppendInt(nil, int64(len(body)), 10)
	b = append(b, '\n')
	return append(b, body...)
}

// Stream is an open RecordIO response.
type Stream struct {
	x  *Exchange
	rc *http.ResponseController

	mu     sync.Mutex
	queue  [][]byte
	wake   chan struct{}
	closed bool
}

// Stream answers 200 and keeps the response open. Records queue without limit,
// as in a master (CLUSTER-API 3.3); Serve writes them.
func (x *Exchange) Stream(header http.Header) *Stream {
	for k, v := range header {
		x.w.Header()[k] = v
	}
	x.w.Header().Set("Content-Type", x.media())
	x.w.WriteHeader(http.StatusOK)
	s := &Stream{x: x, rc: http.NewResponseController(x.w), wake: make(chan struct{}, 1)}
	_ = s.rc.Flush()
	return s
}

// Send queues a record.
func (s *Stream) Send(p Printer, m Message) { s.SendRaw(s.x.Encode(p, m)) }

// SendRaw queues bytes as they are.
func (s *Stream) SendRaw(record []byte) {
	s.mu.Lock()
	if !s.closed {
		s.queue = append(s.queue, record)
	}
	s.mu.Unlock()
	s.signal()
}

// Codec is the exchange whose codec the stream speaks.
func (s *Stream) Codec() *Exchange { return s.x }

// Close lets Serve end after what is queued.
func (s *Stream) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.signal()
}

func (s *Stream) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Serve writes records until the stream is closed, the peer leaves or stop
// ends.
func (s *Stream) Serve(stop <-chan struct{}) {
	for {
		s.mu.Lock()
		batch, closed := s.queue, s.closed
		s.queue = nil
		s.mu.Unlock()
		for _, record := range batch {
			_ = s.rc.SetWriteDeadline(time.Time{})
			if _, err := s.x.w.Write(record); err != nil {
				return
			}
			if err := s.rc.Flush(); err != nil {
				return
			}
		}
		if closed && len(batch) == 0 {
			return
		}
		if len(batch) > 0 {
			continue
		}
		select {
		case <-s.wake:
		case <-s.x.r.Context().Done():
			return
		case <-stop:
			return
		}
	}
}
