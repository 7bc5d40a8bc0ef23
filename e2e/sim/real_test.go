package sim_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/taskwall/taskwall/e2e/netns"
	"github.com/taskwall/taskwall/e2e/probe"
	"github.com/taskwall/taskwall/e2e/sim"
)

// realCluster is a cluster of two hosts in namespaces whose tasks are wired by
// the plugin in testdata; nothing of it may be left after the test.
type realCluster struct {
	*sim.Cluster
	fabric *netns.Fabric
	logs   map[string]string // by host: where the plugin writes, and looks for orders
}

func startReal(t *testing.T, prefix string, change ...func(*sim.Config)) *realCluster {
	t.Helper()
	ctx := testContext(t)
	t.Cleanup(func() {
		if left := netns.Leftovers(prefix); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	})
	f, err := netns.New(prefix)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })

	plugins, err := filepath.Abs("testdata/plugins")
	if err != nil {
		t.Fatal(err)
	}
	cfg := sim.Config{
		Fabric:      f,
		Control:     sim.Host{Name: "ctl", Address: "192.168.50.2/24"},
		CNIPlugins:  plugins,
		TaskPath:    peerDir(t),
		Seed:        1,
		HostCNIConf: map[string]string{},
	}
	logs := map[string]string{}
	for n, name := range []string{"h1", "h2"} {
		cfg.Hosts = append(cfg.Hosts, sim.Host{Name: name, Address: fmt.Sprintf("192.168.50.%d/24", 11+n), Attributes: map[string]string{"zone": name}})
		logs[name] = t.TempDir()
		cfg.HostCNIConf[name] = t.TempDir()
		writeConf(t, cfg.HostCNIConf[name], "taskwall", fmt.Sprintf(
			`{"name":"taskwall","type":"testwire","cniVersion":"0.2.0","log":%q,"block":"10.77.%d","mode":"","args":{"own":"x/y"}}`, logs[name], n+1))
	}
	for _, c := range change {
		c(&cfg)
	}
	c, err := sim.Start(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	for n, other := range []string{"h2", "h1"} {
		me := c.Host([]string{"h1", "h2"}[n]).NS
		if err := me.Route(fmt.Sprintf("10.77.%d.0/24", 2-n), c.Host(other).IP); err != nil {
			t.Fatal(err)
		}
	}
	return &realCluster{c, f, logs}
}

var buildPeer = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "taskwall-peer-*")
	if err != nil {
		return "", err
	}
	builtPeer = dir
	return dir, sim.BuildPeer(context.Background(), dir)
})

var builtPeer string

// peerDir is where the workload is, built once for all tests.
func peerDir(t *testing.T) string {
	t.Helper()
	dir, err := buildPeer()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestMain(m *testing.M) {
	code := m.Run()
	if builtPeer != "" {
		os.RemoveAll(builtPeer)
	}
	os.Exit(code)
}

func writeConf(t *testing.T, dir, name, body string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name+".json"), []byte(body), 0o644); err != nil {
		t.Fatal(err)
	}
}

func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

const webApp = `{"id":"/shop/web","cmd":"exec peer --tcp 8080 --udp 5353","instances":2,"cpus":0.1,"mem":32,
	"labels":{"tier":"web"},"networks":[{"mode":"container","name":"taskwall","labels":{"net":"blue"}}],
	"container":{"type":"MESOS","portMappings":[{"containerPort":8080,"name":"http"}]}}`

func TestTasksOfAnAppTalkAcrossHosts(t *testing.T) {
	c := startReal(t, "twsa")
	ctx := testContext(t)
	if err := c.CreateApp(ctx, webApp); err != nil {
		t.Fatal(err)
	}
	tasks, err := c.WaitRunning(ctx, "/shop/web", 2)
	if err != nil {
		t.Fatal(err)
	}
	if tasks[0].Host == tasks[1].Host {
		t.Fatalf("both tasks on %s", tasks[0].Host)
	}
	a, b := tasks[0], tasks[1]
	waitOpen(t, a.Netns, b.Address, 8080)
	for _, ask := range []func(context.Context, string, string, int) probe.Result{probe.TCP, func(ctx context.Context, ns, ip string, _ int) probe.Result {
		return probe.UDP(ctx, ns, ip, 5353)
	}} {
		r := ask(ctx, a.Netns, b.Address, 8080)
		if !r.Open() || r.Name() != b.ID || r.Source() != a.Address {
			t.Errorf("from %s (%s) to %s: %v", a.ID, a.Address, b.ID, r)
		}
	}
	if r := probe.TCP(ctx, a.Netns, b.Address, 9); r.Verdict != probe.Refused {
		t.Errorf("a closed port: %v", r)
	}
	if err := c.DeleteApp(ctx, "/shop/web"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.WaitRunning(ctx, "/shop/web", 0); err != nil {
		t.Fatal(err)
	}
	if err := c.Settle(ctx); err != nil {
		t.Fatal(err)
	}
}

// waitOpen waits until a peer, which starts after its task runs, listens.
func waitOpen(t *testing.T, ns, ip string, port int) {
	t.Helper()
	for range 50 {
		if probe.TCP(context.Background(), ns, ip, port).Open() {
			return
		}
	}
	t.Fatalf("%s:%d never opened", ip, port)
}
