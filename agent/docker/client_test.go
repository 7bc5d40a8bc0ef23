package docker_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/taskwall/taskwall/agent/docker"
)

func daemon(t *testing.T, status int, body string) *docker.Client {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "docker.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != "GET" || r.URL.Path != "/containers/mesos-c1/json" {
			t.Errorf("asked %s %s", r.Method, r.URL)
		}
		w.WriteHeader(status)
		w.Write([]byte(body))
	})}
	go s.Serve(l)
	t.Cleanup(func() { s.Close() })
	c := docker.New(socket)
	t.Cleanup(c.Close)
	return c
}

func TestInspect(t *testing.T) {
	for body, want := range map[string]docker.Container{
		`{"Id":"d1","State":{"Running":true,"Pid":77,"StartedAt":"2026-11-23T07:00:00Z"},"HostConfig":{"NetworkMode":"none"},"Config":{"Env":["A=b"]}}`: {ID: "d1", PID: 77, Network: "none"},
		`{"Id":"d1","State":{"Running":false,"Pid":77},"HostConfig":{"NetworkMode":"host"}}`:                                                            {ID: "d1", Network: "host"},
	} {
		c, ok, err := daemon(t, 200, body).Inspect(context.Background(), "mesos-c1")
		if !ok || err != nil || c != want {
			t.Errorf("%s: %+v, %v, %v", body, c, ok, err)
		}
	}
	if _, ok, err := daemon(t, 404, `{"message":"No such container"}`).Inspect(context.Background(), "mesos-c1"); ok || err != nil {
		t.Errorf("no such container: %v, %v", ok, err)
	}
}

func TestBadAnswers(t *testing.T) {
	for body, status := range map[string]int{"down": 500, "{": 200, "{}": 200, `{"Id":"d","State":{"Pid":-1}}`: 200, `{"Id":"` + strings.Repeat("x", 5<<20) + `"}`: 200} {
		if _, ok, err := daemon(t, status, body).Inspect(context.Background(), "mesos-c1"); ok || !errors.Is(err, docker.ErrDaemon) {
			t.Errorf("%.20q: %v, %v", body, ok, err)
		}
	}
	if _, _, err := docker.New("/nowhere/docker.sock").Inspect(context.Background(), "mesos-c1"); !errors.Is(err, docker.ErrDaemon) {
		t.Errorf("no daemon: %v", err)
	}
}
