package cni_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/taskwall/taskwall/agent/cni"
	"golang.org/x/sys/unix"
)

// handler answers as told and remembers what it was asked.
type handler struct {
	mu    sync.Mutex
	calls []string
	err   error
}

func (h *handler) called(what string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.calls = append(h.calls, what)
	return h.err
}

func (h *handler) Add(_ context.Context, a cni.Attachment) (cni.Result, error) {
	return cni.Result{Address: netip.MustParseAddr("10.0.0.1"), Gateway: netip.MustParseAddr("169.254.1.1"), Iface: a.Iface, Namespace: a.Namespace, Veth: "tw0"},
		h.called(fmt.Sprintf("ADD %+v", a))
}
func (h *handler) Del(_ context.Context, a cni.Attachment) error {
	return h.called(fmt.Sprintf("DEL %+v", a))
}
func (h *handler) Check(_ context.Context, a cni.Attachment) error {
	return h.called(fmt.Sprintf("CHECK %+v", a))
}
func (h *handler) GC(_ context.Context, network string, valid []cni.Attachment) error {
	return h.called(fmt.Sprintf("GC %s %+v", network, valid))
}
func (h *handler) Status(context.Context) error { return h.called("STATUS") }

func serve(t *testing.T, h cni.Handler) (socket string) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "s")
	l, err := cni.Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- (&cni.Server{Handler: h, Log: slog.New(slog.DiscardHandler)}).Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return socket
}

func plugin(env map[string]string, config string) (stdout, stderr string, exit int) {
	var out, errs bytes.Buffer
	exit = cni.Plugin(func(k string) string { return env[k] }, strings.NewReader(config), &out, &errs)
	return out.String(), errs.String(), exit
}

func env(command string, without ...string) map[string]string {
	e := map[string]string{"CNI_COMMAND": command, "CNI_CONTAINERID": "c1", "CNI_NETNS": "/ns", "CNI_IFNAME": "eth0"}
	for _, k := range without {
		delete(e, k)
	}
	return e
}

func conf(socket, more string) string {
	return fmt.Sprintf(`{"cniVersion":"1.1.0","name":"net","type":"taskwall-cni","socket":%q%s}`, socket, more)
}

func TestCommands(t *testing.T) {
	h := &handler{}
	socket := serve(t, h)
	for _, tc := range []struct{ command, more, want string }{
		{"ADD", "", "ADD {Container:c1 Iface:eth0 Namespace:/ns Network:net}"},
		{"CHECK", "", "CHECK {Container:c1 Iface:eth0 Namespace:/ns Network:net}"},
		{"DEL", "", "DEL {Container:c1 Iface:eth0 Namespace:/ns Network:net}"},
		{"GC", `,"cni.dev/valid-attachments":[{"containerID":"c9","ifname":"eth1"}]`, "GC net [{Container:c9 Iface:eth1 Namespace: Network:net}]"},
		{"STATUS", "", "STATUS"},
	} {
		h.calls = nil
		out, _, exit := plugin(env(tc.command), conf(socket, tc.more))
		if exit != 0 || !slices.Equal(h.calls, []string{tc.want}) || (out == "") != (tc.command != "ADD") {
			t.Errorf("%s: exit %d, calls %q, %s", tc.command, exit, h.calls, out)
		}
	}
	// After a reboot Mesos has no namespace to name (CLUSTER-API 5.2).
	if out, _, exit := plugin(env("DEL", "CNI_NETNS"), conf(socket, "")); exit != 0 {
		t.Errorf("DEL without a namespace: %s", out)
	}
	out, _, exit := plugin(env("VERSION"), `{"cniVersion":"0.4.0"}`)
	var v struct {
		Version   string   `json:"cniVersion"`
		Supported []string `json:"supportedVersions"`
	}
	if err := json.Unmarshal([]byte(out), &v); err != nil || exit != 0 || v.Version != "0.4.0" || !slices.Contains(v.Supported, "0.2.0") || !slices.Contains(v.Supported, "1.1.0") {
		t.Errorf("VERSION: %v, %s", err, out)
	}
}

func TestErrors(t *testing.T) {
	h := &handler{}
	socket := serve(t, h)
	for name, tc := range map[string]struct {
		env    map[string]string
		config string
		err    error
		code   int
		says   string
	}{
		"no container":        {env("ADD", "CNI_CONTAINERID"), conf(socket, ""), nil, cni.CodeEnvironment, "CNI_CONTAINERID"},
		"no namespace":        {env("ADD", "CNI_NETNS"), conf(socket, ""), nil, cni.CodeEnvironment, "CNI_NETNS"},
		"unknown command":     {env("JUMP"), conf(socket, ""), nil, cni.CodeEnvironment, "JUMP"},
		"not JSON":            {env("ADD"), "{", nil, cni.CodeDecode, "stdin"},
		"no name":             {env("ADD"), fmt.Sprintf(`{"socket":%q}`, socket), nil, cni.CodeEnvironment, "name"},
		"version too new":     {env("ADD"), strings.Replace(conf(socket, ""), "1.1.0", "9.0.0", 1), nil, cni.CodeVersion, "9.0.0"},
		"the agent refuses":   {env("ADD"), conf(socket, ""), errors.New("pool default is full"), cni.CodeFailed, "pool default is full"},
		"not ready":           {env("STATUS"), conf(socket, ""), errors.New("no picture yet"), cni.CodeUnavailable, "no picture yet"},
		"the agent is absent": {env("ADD"), conf("/nowhere/at/all", ""), nil, cni.CodeAgain, "systemctl status taskwall-agent"},
	} {
		t.Run(name, func(t *testing.T) {
			h.mu.Lock()
			h.err = tc.err
			h.mu.Unlock()
			if name == "the agent is absent" {
				t.Parallel() // it is waited for
			}
			out, _, exit := plugin(tc.env, tc.config)
			var e cni.Error
			if err := json.Unmarshal([]byte(out), &e); err != nil || exit == 0 {
				t.Fatalf("exit %d, %v: %s", exit, err, out)
			}
			if e.Code != tc.code || e.Version == "" || !strings.Contains(e.Msg+e.Details, tc.says) {
				t.Errorf("%s", out)
			}
		})
	}
}

// A DEL that finds no agent succeeds, in a few seconds: failing would leak the
// namespace, and the agent cleans up when it is back.
func TestDelWithoutAgent(t *testing.T) {
	t.Parallel()
	started := time.Now()
	out, errs, exit := plugin(env("DEL"), conf("/nowhere/at/all", ""))
	if exit != 0 || out != "" || !strings.Contains(errs, "clean up") || time.Since(started) > 10*time.Second {
		t.Errorf("exit %d after %s, %q, %q", exit, time.Since(started), out, errs)
	}
}

// An agent that goes away with the call half done is asked again when it is
// back; also if the call has waited longer than a plugin waits for an agent that
// is not there.
func TestAgentRestartsDuringCall(t *testing.T) {
	for _, tc := range []struct {
		command string
		waited  time.Duration
	}{{"ADD", 0}, {"ADD", 5500 * time.Millisecond}, {"DEL", 2500 * time.Millisecond}} {
		t.Run(fmt.Sprint(tc.command, " after ", tc.waited), func(t *testing.T) {
			t.Parallel()
			restart(t, tc.command, tc.waited)
		})
	}
}

func restart(t *testing.T, command string, waited time.Duration) {
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	answer := make(chan string, 1)
	go func() {
		out, errs, _ := plugin(env(command), conf(socket, ""))
		answer <- out + errs
	}()
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(waited)
	l.Close() // the old agent ends
	c.Close()
	time.Sleep(200 * time.Millisecond) // it is missed
	again, err := cni.Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	h := &handler{}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- (&cni.Server{Handler: h, Log: slog.New(slog.DiscardHandler)}).Serve(ctx, again)
	}()
	if out := <-answer; command == "ADD" && !strings.Contains(out, "10.0.0.1/32") {
		t.Errorf("ADD: %s", out)
	}
	h.mu.Lock()
	if len(h.calls) != 1 || !strings.HasPrefix(h.calls[0], command) {
		t.Errorf("the next agent was asked %q", h.calls)
	}
	h.mu.Unlock()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// An agent that was stopped, and whose successor Mesos may take a while to start,
// leaves its socket: a plugin that finds none gives up much sooner.
func TestAStoppedAgentLeavesItsSocket(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	for range 2 { // the second in place of what the first left
		l, err := cni.Listen(socket)
		if err != nil {
			t.Fatal(err)
		}
		stopped, stop := context.WithCancel(context.Background())
		stop()
		if err := (&cni.Server{Handler: &handler{}, Log: slog.New(slog.DiscardHandler)}).Serve(stopped, l); err != nil {
			t.Fatal(err)
		}
		if _, err := net.Dial("unix", socket); !errors.Is(err, unix.ECONNREFUSED) {
			t.Errorf("a plugin is told %v", err)
		}
	}
}

// Whoever is not root is not answered, also when the socket lets him in.
func TestOnlyRootIsAnswered(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can be another")
	}
	h := &handler{}
	socket := serve(t, h)
	if st, err := os.Stat(socket); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("the socket is %v, %v", st.Mode(), err)
	}
	for dir := socket; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	answer := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		const nobody = 65534
		if _, _, e := unix.RawSyscall(unix.SYS_SETRESUID, nobody, nobody, nobody); e != 0 {
			answer <- e
			return
		}
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err == nil {
			defer unix.Close(fd)
			err = unix.Connect(fd, &unix.SockaddrUnix{Name: socket})
		}
		if err != nil {
			answer <- fmt.Errorf("the test shows nothing: %w", err)
			return
		}
		unix.Write(fd, []byte(`{"command":"DEL","container":"c1","iface":"eth0","config":{"name":"net"}}`)) //nolint:errcheck // it may be closed
		if n, _ := unix.Read(fd, make([]byte, 100)); n > 0 {                                                // an error is no answer
			answer <- errors.New("it was answered")
			return
		}
		answer <- nil
	}()
	if err := <-answer; err != nil {
		t.Error(err)
	}
	if out, _, exit := plugin(env("ADD"), conf(socket, "")); exit != 0 {
		t.Errorf("root's ADD after it: %s", out)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.calls) != 1 {
		t.Errorf("the calls were %q", h.calls)
	}
}

// What is not a request is closed, and others are served on.
func TestGarbage(t *testing.T) {
	socket := serve(t, &handler{})
	for _, s := range []string{"", "{", "[]\n", "\x00\xff", `{"config":7}` + "\n"} {
		c, err := net.Dial("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write([]byte(s)); err != nil {
			t.Fatal(err)
		}
		c.Close()
	}
	if out, _, exit := plugin(env("ADD"), conf(socket, "")); exit != 0 {
		t.Errorf("ADD after garbage: %s", out)
	}
}

// A DEL calls an ADD of the same interface off, waits until it is over, and
// leaves those of others alone.
func TestDelCallsAddOff(t *testing.T) {
	h := &slow{begun: make(chan string, 2), others: make(chan struct{})}
	socket := serve(t, h)
	add := func(container string) (answer chan string) {
		answer = make(chan string, 1)
		go func() {
			e := env("ADD")
			e["CNI_CONTAINERID"] = container
			out, _, _ := plugin(e, conf(socket, ""))
			answer <- out
		}()
		return answer
	}
	mine, other := add("c1"), add("c2")
	<-h.begun
	<-h.begun
	if out, _, exit := plugin(env("DEL"), conf(socket, "")); exit != 0 {
		t.Errorf("DEL: %s", out)
	}
	if out := <-mine; !strings.Contains(out, "the container was removed") {
		t.Errorf("ADD: %s", out)
	}
	close(h.others)
	if out := <-other; !strings.Contains(out, "10.0.0.1/32") {
		t.Errorf("ADD of another container: %s", out)
	}
	if want := []string{"ADD c1 is over", "DEL c1", "ADD c2 is over"}; !slices.Equal(h.calls, want) {
		t.Errorf("calls %q, want %q", h.calls, want)
	}
}

// The server is over when its calls are: what they work with is closed then.
func TestServeWaitsForItsCalls(t *testing.T) {
	h := &slow{begun: make(chan string, 1)}
	socket := filepath.Join(t.TempDir(), "s")
	l, err := cni.Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- (&cni.Server{Handler: h, Log: slog.New(slog.DiscardHandler)}).Serve(ctx, l) }()
	c, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, `{"command":"ADD","container":"c1","namespace":"/ns","iface":"eth0","config":%s}`, conf(socket, ""))
	<-h.begun
	cancel()
	if err := <-done; err != nil || !slices.Equal(h.calls, []string{"ADD c1 is over"}) {
		t.Errorf("it ended with %v, after the calls %q", err, h.calls)
	}
}

// slow adds until it is called off, or others are let go.
type slow struct {
	handler
	begun  chan string
	others chan struct{}
}

func (s *slow) Add(ctx context.Context, a cni.Attachment) (cni.Result, error) {
	s.begun <- a.Container
	select {
	case <-ctx.Done():
		time.Sleep(10 * time.Millisecond) // a DEL that does not wait is then seen
		return cni.Result{}, errors.Join(s.called("ADD "+a.Container+" is over"), ctx.Err())
	case <-s.others:
	}
	return cni.Result{Address: netip.MustParseAddr("10.0.0.1"), Gateway: netip.MustParseAddr("169.254.1.1"), Iface: a.Iface}, s.called("ADD " + a.Container + " is over")
}

func (s *slow) Del(_ context.Context, a cni.Attachment) error { return s.called("DEL " + a.Container) }
