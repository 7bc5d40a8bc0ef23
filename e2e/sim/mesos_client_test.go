package sim_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// transport opens a connection per request: servers come and go in these tests.
var transport = &http.Transport{DisableKeepAlives: true}

// post sends a JSON call and returns the response; the body is the caller's to
// close.
func post(t *testing.T, url, body string, header ...string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return resp
}

// records splits a RecordIO body.
func records(body []byte) [][]byte {
	var out [][]byte
	for len(body) > 0 {
		head, rest, ok := bytes.Cut(body, []byte("\n"))
		n, err := strconv.Atoi(string(head))
		if !ok || err != nil || n > len(rest) {
			break
		}
		out = append(out, rest[:n])
		body = rest[n:]
	}
	return out
}

func readFile(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// operatorStream is an open SUBSCRIBE whose records pile up.
type operatorStream struct {
	mu   sync.Mutex
	got  [][]byte
	done chan struct{}
}

func subscribe(t *testing.T, url, accept string) *operatorStream {
	t.Helper()
	resp := post(t, url+"/api/v1", `{"type":"SUBSCRIBE"}`, "Accept", accept)
	if resp.StatusCode != http.StatusOK {
		t.Fatal(resp.Status)
	}
	s := &operatorStream{done: make(chan struct{})}
	go func() {
		defer close(s.done)
		_ = readRecords(resp.Body, func(b []byte) {
			s.mu.Lock()
			s.got = append(s.got, b)
			s.mu.Unlock()
		})
	}()
	return s
}

func readRecords(r io.Reader, f func([]byte)) error {
	br := bufio.NewReader(r)
	for {
		head, err := br.ReadString('\n')
		if err != nil {
			return err
		}
		n, err := strconv.Atoi(strings.TrimSuffix(head, "\n"))
		if err != nil {
			return fmt.Errorf("record length %q: %w", head, err)
		}
		b := make([]byte, n)
		if _, err := io.ReadFull(br, b); err != nil {
			return err
		}
		f(b)
	}
}

func (s *operatorStream) records() [][]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([][]byte(nil), s.got...)
}

// has waits for a JSON record that contains all the words.
func (s *operatorStream) has(t *testing.T, words ...string) {
	t.Helper()
	eventually(t, fmt.Sprint("a record with ", words), func() bool {
		for _, r := range s.records() {
			all := true
			for _, w := range words {
				all = all && bytes.Contains(r, []byte(w))
			}
			if all {
				return true
			}
		}
		return false
	})
}

// scheduler is a framework that uses the HTTP API, acknowledges everything and
// launches when told to.
type scheduler struct {
	t      *testing.T
	url    string
	stream string
	resp   *http.Response

	mu     sync.Mutex
	id     string
	events []map[string]any
	offers []map[string]any
}

func newScheduler(t *testing.T, url, subscribe string) *scheduler {
	t.Helper()
	s := &scheduler{t: t, url: url + "/api/v1/scheduler"}
	s.connect(subscribe)
	return s
}

func (s *scheduler) connect(subscribe string) {
	s.t.Helper()
	s.resp = post(s.t, s.url, subscribe, "Accept", "application/json")
	if s.resp.StatusCode != http.StatusOK {
		s.t.Fatal(s.resp.Status)
	}
	s.stream = s.resp.Header.Get("Mesos-Stream-Id")
	s.mu.Lock()
	s.id, s.offers = "", nil
	s.mu.Unlock()
	body := s.resp.Body
	go func() { _ = readRecords(body, s.event) }()
	eventually(s.t, "SUBSCRIBED", func() bool { return s.framework() != "" })
}

func (s *scheduler) framework() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.id
}

func (s *scheduler) event(b []byte) {
	var e map[string]any
	if err := json.Unmarshal(b, &e); err != nil {
		s.t.Errorf("scheduler event %s: %v", b, err)
		return
	}
	s.mu.Lock()
	s.events = append(s.events, e)
	switch e["type"] {
	case "SUBSCRIBED":
		s.id = value(dig(e, "subscribed", "framework_id"))
	case "RESCIND":
		s.offers = slices.DeleteFunc(s.offers, func(o map[string]any) bool {
			return value(o["id"]) == value(dig(e, "rescind", "offer_id"))
		})
	case "OFFERS":
		for _, o := range dig(e, "offers", "offers").([]any) {
			s.offers = append(s.offers, o.(map[string]any))
		}
	}
	id := s.id
	s.mu.Unlock()
	if e["type"] != "UPDATE" {
		return
	}
	status := dig(e, "update", "status").(map[string]any)
	if status["uuid"] == nil {
		return
	}
	ack, _ := json.Marshal(map[string]any{"type": "ACKNOWLEDGE", "framework_id": map[string]any{"value": id},
		"acknowledge": map[string]any{"agent_id": status["agent_id"], "task_id": status["task_id"], "uuid": status["uuid"]}})
	s.call(string(ack))
}

func (s *scheduler) call(body string) int {
	req, err := http.NewRequest(http.MethodPost, s.url, strings.NewReader(body))
	if err != nil {
		s.t.Error(err)
		return 0
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Mesos-Stream-Id", s.stream)
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return 0 // the cluster is going away
	}
	defer resp.Body.Close()
	return resp.StatusCode
}

// accept sends a recorded ACCEPT with the ids of this run.
func (s *scheduler) accept(framework, firstTask string) {
	s.t.Helper()
	var all []struct {
		Framework string
		Tasks     []string
		Call      json.RawMessage
	}
	if err := json.Unmarshal(readFile(s.t, "testdata/recorded/accepts.json"), &all); err != nil {
		s.t.Fatal(err)
	}
	for _, a := range all {
		if a.Framework == framework && a.Tasks[0] == firstTask {
			s.launch(a.Call)
			return
		}
	}
	s.t.Fatalf("no recorded launch of %s by %s", firstTask, framework)
}

// launch takes the offer at hand for a call made for another.
func (s *scheduler) launch(call []byte) {
	s.t.Helper()
	var offers []map[string]any
	eventually(s.t, "an offer", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		offers, s.offers = s.offers, nil
		return len(offers) > 0
	})
	var c any
	if err := json.Unmarshal(call, &c); err != nil {
		s.t.Fatal(err)
	}
	c = replaceIDs(c, "", map[string]string{"framework_id": s.framework(), "agent_id": value(offers[0]["agent_id"])})
	accept := dig(c, "accept").(map[string]any)
	ids := []any{}
	for _, o := range offers {
		ids = append(ids, o["id"])
	}
	accept["offer_ids"] = ids
	accept["filters"] = map[string]any{"refuse_seconds": 0}
	b, _ := json.Marshal(c)
	if status := s.call(string(b)); status != http.StatusAccepted {
		s.t.Fatalf("ACCEPT answered %d", status)
	}
}

func (s *scheduler) kill(task string) {
	s.t.Helper()
	if status := s.call(fmt.Sprintf(`{"type":"KILL","framework_id":{"value":%q},"kill":{"task_id":{"value":%q}}}`, s.framework(), task)); status != http.StatusAccepted {
		s.t.Fatalf("KILL answered %d", status)
	}
}

// saw waits for an UPDATE of a task with a state and, if given, words.
func (s *scheduler) saw(task, state string, words ...string) map[string]any {
	s.t.Helper()
	var found map[string]any
	defer func() {
		if found == nil {
			s.mu.Lock()
			defer s.mu.Unlock()
			b, _ := json.Marshal(s.events[max(0, len(s.events)-5):])
			s.t.Logf("last events: %s", b)
		}
	}()
	eventually(s.t, task+" "+state+fmt.Sprint(words), func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, e := range s.events {
			if e["type"] != "UPDATE" {
				continue
			}
			status := dig(e, "update", "status").(map[string]any)
			if value(status["task_id"]) != task || status["state"] != state {
				continue
			}
			b, _ := json.Marshal(status)
			all := true
			for _, w := range words {
				all = all && strings.Contains(string(b), w)
			}
			if all {
				found = status
				return true
			}
		}
		return false
	})
	return found
}

func replaceIDs(v any, key string, ids map[string]string) any {
	if id, ok := ids[key]; ok {
		return map[string]any{"value": id}
	}
	switch v := v.(type) {
	case map[string]any:
		for k := range v {
			v[k] = replaceIDs(v[k], k, ids)
		}
	case []any:
		for i := range v {
			v[i] = replaceIDs(v[i], key, ids)
		}
	}
	return v
}

func dig(v any, path ...string) any {
	for _, p := range path {
		m, _ := v.(map[string]any)
		v = m[p]
	}
	return v
}

func value(v any) string {
	s, _ := dig(v, "value").(string)
	return s
}
