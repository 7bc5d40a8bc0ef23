package marathon

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
)

const maxBody = 16 << 20

// zippers are kept: making one takes longer than most answers.
var zippers = sync.Pool{New: func() any { return gzip.NewWriter(nil) }}

// fail answers with an error as Marathon words them.
func fail(w http.ResponseWriter, status int, message string) {
	reply(w, nil, status, object{"message": message})
}

// reply answers with JSON.
func reply(w http.ResponseWriter, r *http.Request, status int, body any) {
	b, err := json.Marshal(body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if r != nil && strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") && len(b) > 256 {
		w.Header().Set("Content-Encoding", "gzip")
		w.WriteHeader(status)
		z := zippers.Get().(*gzip.Writer)
		z.Reset(w)
		_, _ = z.Write(b)
		_ = z.Close()
		zippers.Put(z)
		return
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	w.WriteHeader(status)
	_, _ = w.Write(b)
}

// refuseChange answers an error of a change.
func refuseChange(w http.ResponseWriter, err error) {
	var bad invalid
	var locked errLocked
	switch {
	case errors.As(err, &bad):
		reply(w, nil, http.StatusUnprocessableEntity, object{
			"message": "Object is not valid",
			"details": []any{object{"path": bad.path, "errors": []string{bad.why}}},
		})
	case errors.As(err, &locked):
		ids := []any{}
		for _, id := range locked.ids {
			ids = append(ids, object{"id": id})
		}
		reply(w, nil, http.StatusConflict, object{"message": locked.Error(), "deployments": ids})
	default:
		fail(w, http.StatusInternalServerError, err.Error())
	}
}

func readJSON(w http.ResponseWriter, r *http.Request, into any) bool {
	b, err := io.ReadAll(io.LimitReader(r.Body, maxBody))
	if err == nil {
		err = json.Unmarshal(b, into)
	}
	if err != nil {
		reply(w, nil, http.StatusBadRequest, object{"message": "Invalid JSON", "details": []any{object{"path": "", "errors": []string{err.Error()}}}})
		return false
	}
	return true
}

func forced(r *http.Request) bool { return r.URL.Query().Get("force") == "true" }

func clientIP(r *http.Request) string {
	host, _, _ := net.SplitHostPort(r.RemoteAddr)
	return host
}

// routes is the leader's API. Apps, pods and groups have slashes in their ids,
// so that their paths are taken apart by hand.
func (m *Marathon) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v2/events", m.stream)
	mux.HandleFunc("GET /ping", func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.Header.Get("Accept"), "application/json") {
			reply(w, r, http.StatusOK, "pong")
			return
		}
		w.Header().Set("Content-Type", "text/plain")
		_, _ = io.WriteString(w, "pong")
	})
	mux.HandleFunc("GET /v2/info", m.getInfo)
	mux.HandleFunc("GET /v2/leader", m.getLeader)
	mux.HandleFunc("DELETE /v2/leader", m.deleteLeader)
	mux.HandleFunc("GET /v2/deployments", m.getDeployments)
	mux.HandleFunc("DELETE /v2/deployments/{id}", m.deleteDeployment)
	mux.HandleFunc("GET /v2/queue", m.getQueue)
	mux.HandleFunc("GET /v2/tasks", m.getTasks)
	mux.HandleFunc("POST /v2/tasks/delete", m.deleteTasks)
	mux.HandleFunc("/v2/apps", m.apps)
	mux.HandleFunc("/v2/apps/", m.appPath)
	mux.HandleFunc("/v2/pods", m.pods)
	mux.HandleFunc("/v2/pods/", m.podPath)
	mux.HandleFunc("/v2/groups", m.groups)
	mux.HandleFunc("/v2/groups/", m.groups)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v2/events" {
			mux.ServeHTTP(w, r)
			return
		}
		if m.forbids(w, r) {
			return
		}
		held := &heldAnswer{header: w.Header(), status: http.StatusOK}
		mux.ServeHTTP(held, r)
		w.WriteHeader(held.status)
		_, _ = w.Write(held.body.Bytes())
	})
}

// heldAnswer collects an answer that a handler writes under the lock, so that a
// client that reads slowly holds up nobody.
type heldAnswer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (h *heldAnswer) Header() http.Header         { return h.header }
func (h *heldAnswer) WriteHeader(status int)      { h.status = status }
func (h *heldAnswer) Write(b []byte) (int, error) { return h.body.Write(b) }
