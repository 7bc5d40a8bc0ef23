package bgp_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/taskwall/taskwall/agent/bgp"
	"github.com/taskwall/taskwall/agent/internal/netlab"
	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/work"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if os.Getenv(childConfig) != "" {
		child() // a speaker of its own in the namespace that it was started in
		return
	}
	netlab.Main(m)
}

// The host under test listens and is dialled here.
const port = 1790

func addr(s string) netip.Addr     { return netip.MustParseAddr(s) }
func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }
func host() netip.Addr             { return addr(netlab.Host) }
func hostOn(i int) netip.Addr      { return addr(fmt.Sprintf("198.51.%d.1", 100+i)) }
func routerOn(i int) netip.Addr    { return addr(fmt.Sprintf("198.51.%d.2", 100+i)) }

// router is a BIRD on a link of its own to the host under test.
type router struct {
	*netlab.Bird
	t  testing.TB
	ns *netlab.Namespace
	i  int
}

// newRouter joins a namespace to the host: 198.51.(100+i).1 is the host's end.
func newRouter(t testing.TB, i int) *router {
	t.Helper()
	r := &router{t: t, ns: netlab.New(t), i: i}
	netlab.Join(t, fmt.Sprintf("up%d", i), hostOn(i).String()+"/24", r.ns, "up0", routerOn(i).String()+"/24")
	return r
}

// start runs BIRD with a configuration; "session" in it stands for the session
// with the host, and each route for a static one.
func (r *router) start(asn, hostASN int, session string, routes ...string) *router {
	r.t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "log stderr all;\nrouter id %s;\nprotocol device { scan time 1; }\nprotocol static { ipv4;\n", routerOn(r.i))
	for _, route := range routes {
		if !strings.Contains(route, " ") {
			route += " blackhole"
		}
		fmt.Fprintf(&b, "route %s;\n", route)
	}
	b.WriteString("}\n")
	options := "import all; export all;"
	if !strings.Contains(session, "next hop") {
		options += " next hop self;"
	}
	fmt.Fprintf(&b, `protocol bgp host {
  local %s port 179 as %d; neighbor %s port %d as %d;
  connect delay time 1; connect retry time 1; error wait time 1, 1; error forget time 1; hold time 9;
  ipv4 { %s %%s }; %%s
}
`, routerOn(r.i), asn, hostOn(r.i), port, hostASN, options)
	channel, rest, _ := strings.Cut(session, "|")
	r.Bird = r.ns.Bird(r.t, fmt.Sprintf(b.String(), channel, rest))
	return r
}

func (r *router) hasNot(network string) error {
	if r.Has(network) == nil {
		return fmt.Errorf("%s has %s", routerOn(r.i), network)
	}
	return nil
}

// reports keeps what a speaker says.
type reports struct {
	mu       sync.Mutex
	sessions []events.Session
	refused  []events.RouteRefusal
}

func (r *reports) Session(s events.Session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sessions = append(r.sessions, s)
}

func (r *reports) Refused(f events.RouteRefusal) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refused = append(r.refused, f)
}

func (r *reports) last(peer string) events.Session {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range slices.Backward(r.sessions) {
		if s.Peer == peer {
			return s
		}
	}
	return events.Session{}
}

func (r *reports) refusal(p string) (out []events.RouteRefusal) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range r.refused {
		if f.Prefix.String() == p {
			out = append(out, f)
		}
	}
	return out
}

// speaker is one on the host under test.
type speaker struct {
	*bgp.Speaker
	reports
	t    testing.TB
	stop func()
}

func speak(t testing.TB, cfg bgp.Config) *speaker {
	t.Helper()
	s := &speaker{t: t}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
		if testing.Verbose() {
			cfg.Logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
		}
	}
	cfg.Reports = s
	var err error
	if s.Speaker, err = bgp.New(cfg); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	s.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		s.Close()
	})
	t.Cleanup(func() {
		s.stop()
		exec.Command("ip", "route", "flush", "proto", "85").Run() //nolint:errcheck // there may be none
	})
	return s
}

func (s *speaker) apply(b *work.BGP) {
	s.t.Helper()
	if failed := s.Apply(context.Background(), b); len(failed) > 0 {
		s.t.Fatalf("not applied: %v", failed)
	}
}

func (s *speaker) established(peers ...string) {
	s.t.Helper()
	for _, p := range peers {
		eventually(s.t, p+" is established", func() error {
			if l := s.last(p); l.State != "established" {
				return fmt.Errorf("%+v", l)
			}
			return nil
		})
	}
}

// config is a host with 10.0.0.0/24, of the pool 10.0.0.0/16, and peers.
func config(peers ...work.BGPPeer) *work.BGP {
	return &work.BGP{
		ASN: 64512, RouterID: host(), Port: port,
		Announce: []work.Announcement{{Prefix: prefix("10.0.0.0/24")}},
		Accept:   []netip.Prefix{prefix("10.0.0.0/16"), prefix("172.20.0.0/16")},
		Pools:    []netip.Prefix{prefix("10.0.0.0/16")},
		Peers:    peers,
	}
}

func peerOn(i int, asn uint32) work.BGPPeer {
	return work.BGPPeer{Name: fmt.Sprintf("r%d", i), Address: routerOn(i), ASN: asn, Source: hostOn(i), HoldTime: 9 * time.Second}
}

// eventually asks until the answer is nil, and fails the test with the last.
func eventually(t testing.TB, what string, ask func() error) {
	t.Helper()
	var err error
	for limit := time.Now().Add(20 * time.Second); time.Now().Before(limit); time.Sleep(20 * time.Millisecond) {
		if err = ask(); err == nil {
			return
		}
	}
	t.Fatalf("%s: not so: %v", what, err)
}

func ip(t testing.TB, args string) string {
	t.Helper()
	out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput()
	if err != nil {
		t.Fatalf("ip %s: %v: %s", args, err, out)
	}
	return string(out)
}

// kernelHas says that the kernel's learned routes are just these, as `ip route`
// writes them after their network.
func kernelHas(t testing.TB, want ...string) func() error {
	return func() error {
		var got []string
		for _, l := range strings.Split(strings.ReplaceAll(ip(t, "route show proto 85"), "\n\t", " "), "\n") {
			if l = strings.Join(strings.Fields(l), " "); l != "" {
				got = append(got, l)
			}
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			return fmt.Errorf("the kernel has\n%s\nnot\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		return nil
	}
}

func via(p string, i int) string {
	return fmt.Sprintf("%s via %s dev up%d metric 85", p, routerOn(i), i)
}

func noLeaks(t *testing.T) {
	t.Helper()
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() {
		// A peer's queue that was not empty when the peer went stays (doc.go).
		goleak.VerifyNone(t, before, goleak.IgnoreTopFunction("github.com/eapache/channels.(*InfiniteChannel).infiniteBuffer"))
	})
}

// childConfig names the variable with a child's configuration.
const childConfig = "TASKWALL_BGP_CHILD"

// child speaks until it is killed, or told to end.
func child() {
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelInfo}))
	s, err := bgp.New(bgp.Config{Reports: &reports{}, Logger: log})
	if err != nil {
		panic(err)
	}
	go s.Run(context.Background()) //nolint:errcheck // until the end
	var b work.BGP
	if err := json.Unmarshal([]byte(os.Getenv(childConfig)), &b); err != nil {
		panic(err)
	}
	s.Apply(context.Background(), &b)
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM)
	<-end
	s.Close()
}

// startChild starts a speaker as a process of its own; do starts a command.
func startChild(t testing.TB, b *work.BGP, do func(func() error)) *exec.Cmd {
	t.Helper()
	text, err := json.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), childConfig+"="+string(text))
	if testing.Verbose() {
		cmd.Stderr = os.Stderr
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	do(cmd.Start)
	t.Cleanup(func() {
		cmd.Process.Kill() //nolint:errcheck // it may have ended
		cmd.Wait()         //nolint:errcheck // it was killed
	})
	return cmd
}

// here starts a command in the host under test.
func here(t testing.TB) func(func() error) {
	return func(start func() error) {
		if err := start(); err != nil {
			t.Fatal(err)
		}
	}
}
