package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/taskwall/taskwall/e2e/deploy"
	"github.com/taskwall/taskwall/e2e/netns"
	"github.com/taskwall/taskwall/e2e/story"
	"github.com/taskwall/taskwall/events"
)

// TestStory plays the demonstration's story with real processes in real
// namespaces, and checks every verdict with real connections.
func TestStory(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	stage := set(t, ctx)

	if _, err := stage.Apply(ctx, stage.Policies(), "ann@security", "4f2c9e1"); err != nil {
		t.Fatal(err)
	}
	if err := stage.Deploy(ctx); err != nil {
		t.Fatal(err)
	}
	t.Run("every pair meets its policy", func(t *testing.T) { verdicts(t, stage.Observe(ctx, false)) })
	t.Run("a Docker task without CNI meets its policy", func(t *testing.T) { dockerTask(t, ctx, stage) })
	t.Run("a pod's task with a network of its own meets its policy", func(t *testing.T) { group(t, ctx, stage) })
	t.Run("the first packet meets the policy", func(t *testing.T) { firstPacket(t, ctx, stage) })
	t.Run("a dry run tells the flows that would change", func(t *testing.T) {
		out, err := stage.Taskwall(ctx, "policy", "apply", "-f", stage.Change(), "--author", "bob", "--dry-run")
		if err != nil {
			t.Fatal(err)
		}
		for flow, allowed := range story.Change {
			verb := map[bool]string{true: "ALLOWED", false: "DENIED "}[allowed]
			if want := regexp.MustCompile(fmt.Sprintf(`%s  %s \(.*\) -> %s \(.*\)  %s %d\n`, verb, flow.From, flow.To, flow.Protocol, flow.Port)); !want.MatchString(out) {
				t.Errorf("no %s in\n%s", want, out)
			}
		}
	})
	t.Run("a policy change reaches the kernels", func(t *testing.T) {
		result, err := stage.Apply(ctx, stage.Change(), "bob@security", "9a77d03")
		if err != nil {
			t.Fatal(err)
		}
		if len(result.Hosts) == 0 {
			t.Error("it went to no host")
		}
		verdicts(t, stage.Observe(ctx, true))
	})
	t.Run("a killed app leaves nothing behind", func(t *testing.T) { kill(t, ctx, stage) })
	t.Run("an agent's restart leaves what is right", func(t *testing.T) { restart(t, ctx, stage) })
	t.Run("the log is signed and proves what the hosts hold", func(t *testing.T) {
		if out, err := stage.Verify(ctx); err != nil || !strings.Contains(out, "All is as the log says.") {
			t.Errorf("%v\n%s", err, out)
		}
	})
	if err := stage.Strike(); err != nil {
		t.Errorf("ending: %v", err)
	}
	if left := netns.Leftovers(prefix); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if out := stage.Output(); strings.Contains(out, "DATA RACE") || strings.Contains(out, "panic:") {
		t.Errorf("a process raced or panicked:\n%s", out)
	}
}

// prefix of the namespaces of these tests.
const prefix = "twe2e"

func set(t *testing.T, ctx context.Context) *story.Stage {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("these tests make network namespaces and must run as root")
	}
	stage, err := story.Set(ctx, deploy.Options{Prefix: prefix, Bin: binaries})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := stage.Strike(); err != nil {
			t.Errorf("ending: %v", err)
		}
	})
	return stage
}

func verdicts(t *testing.T, seen []story.Observation) {
	t.Helper()
	allowed := 0
	for _, o := range seen {
		if o.Expected {
			allowed++
		}
		if !o.Right() {
			t.Errorf("%v: expected open=%v, observed %v; the client is %s", o.Flow, o.Expected, o.Result, o.Client)
		}
	}
	if allowed == 0 || allowed == len(seen) {
		t.Errorf("%d of %d flows are to be allowed: the test shows nothing", allowed, len(seen))
	}
}

// firstPacket starts tasks that connect to the database as their very first
// act. Payments may: its own host and the database's already know it. Without
// labels it may not, not even for a moment.
func firstPacket(t *testing.T, ctx context.Context, stage *story.Stage) {
	payments := map[string]string{}
	for _, app := range story.Apps {
		if app.ID == "/shop/payments" {
			payments = app.Labels
		}
	}
	for i := range 3 {
		for _, tt := range []struct {
			name   string
			labels map[string]string
			open   bool
		}{{"allowed", payments, true}, {"denied", nil, false}} {
			id := fmt.Sprintf("/first/%s-%d", tt.name, i)
			open, err := stage.First(ctx, id, tt.labels, "/shop/orders-db", 5432)
			if err != nil {
				t.Fatal(err)
			}
			if open != tt.open {
				t.Errorf("%s: the first packet passed: %v, want %v", id, open, tt.open)
			}
			if err := stage.Kill(ctx, id); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// dockerTask runs one more payments task, by the Docker containerizer.
func dockerTask(t *testing.T, ctx context.Context, stage *story.Stage) {
	app := story.App{ID: "/shop/imported", TCP: []int{8443}, Labels: map[string]string{
		"taskwall.environment": "production", "tier": "payments", "taskwall.uses": "orders-db", "taskwall.network": "taskwall"}}
	if err := stage.DeployDocker(ctx, app); err != nil {
		t.Fatal(err)
	}
	for flow, open := range map[story.Flow]bool{
		{From: "/shop/web", To: app.ID, Protocol: "tcp", Port: 8443}:       true,
		{From: "/intruder", To: app.ID, Protocol: "tcp", Port: 8443}:       false,
		{From: app.ID, To: "/shop/orders-db", Protocol: "tcp", Port: 5432}: true,
		{From: app.ID, To: "/shop/web", Protocol: "tcp", Port: 8080}:       false,
	} {
		o := stage.Probe(ctx, flow)
		if o.Expected = open; !o.Right() {
			t.Errorf("%v: expected open=%v, observed %v; the client is %s", flow, open, o.Result, o.Client)
		}
	}
	address := stage.Address(app.ID)
	if err := stage.Kill(ctx, app.ID); err != nil {
		t.Fatal(err)
	}
	traces, err := stage.Traces(ctx, address)
	if err != nil {
		t.Fatal(err)
	}
	for _, trace := range traces {
		t.Errorf("left behind: %s", trace)
	}
}

// group checks that a task of a pod that has a network of its own is another to
// its policies than the pod's task beside it, which shares the executor's.
func group(t *testing.T, ctx context.Context, stage *story.Stage) {
	shares := story.App{ID: "pod-sidecar", TCP: []int{8443}, Labels: map[string]string{"taskwall.environment": "production"}}
	own := story.App{ID: "pod-payments", TCP: []int{8443}, Labels: map[string]string{
		"taskwall.environment": "production", "tier": "payments", "taskwall.uses": "orders-db"}}
	pod, err := stage.DeployGroup(ctx, shares, own)
	if err != nil {
		t.Fatal(err)
	}
	for flow, open := range map[story.Flow]bool{
		{From: "/shop/web", To: own.ID, Protocol: "tcp", Port: 8443}:          true,
		{From: "/shop/web", To: shares.ID, Protocol: "tcp", Port: 8443}:       false,
		{From: own.ID, To: "/shop/orders-db", Protocol: "tcp", Port: 5432}:    true,
		{From: shares.ID, To: "/shop/orders-db", Protocol: "tcp", Port: 5432}: false,
		{From: shares.ID, To: own.ID, Protocol: "tcp", Port: 8443}:            false,
	} {
		o := stage.Probe(ctx, flow)
		if o.Expected = open; !o.Right() {
			t.Errorf("%v: expected open=%v, observed %v; the client is %s", flow, open, o.Result, o.Client)
		}
	}
	addresses := []string{stage.Address(shares.ID), stage.Address(own.ID)}
	if err := pod.End(ctx); err != nil {
		t.Fatal(err)
	}
	for _, address := range addresses {
		traces, err := stage.Traces(ctx, address)
		if err != nil {
			t.Fatal(err)
		}
		for _, trace := range traces {
			t.Errorf("left behind: %s", trace)
		}
	}
}

func kill(t *testing.T, ctx context.Context, stage *story.Stage) {
	const app = "/shop/payments"
	if err := stage.Scale(ctx, app, 3); err != nil {
		t.Fatal(err)
	}
	victim, err := stage.Pick(ctx, app)
	if err != nil {
		t.Fatal(err)
	}
	before, err := stage.Interfaces(ctx, victim.Host)
	if err != nil {
		t.Fatal(err)
	}
	traces, err := stage.Traces(ctx, victim.Address)
	if err != nil {
		t.Fatal(err)
	}
	var local, remote bool // the search finds it while it lives, at both ends
	for _, trace := range traces {
		local = local || strings.HasPrefix(trace, victim.Host+": set element")
		remote = remote || !strings.HasPrefix(trace, victim.Host) && strings.Contains(trace, "set element")
	}
	if !local || !remote {
		t.Errorf("while it lives, traces of %s (on %s) are only:\n%s", victim.Address, victim.Host, strings.Join(traces, "\n"))
	}
	if err := stage.Kill(ctx, app); err != nil {
		t.Fatal(err)
	}
	traces, err = stage.Traces(ctx, victim.Address)
	if err != nil {
		t.Fatal(err)
	}
	for _, trace := range traces {
		t.Errorf("left behind: %s", trace)
	}
	after, err := stage.Interfaces(ctx, victim.Host)
	if err != nil {
		t.Fatal(err)
	}
	if after >= before {
		t.Errorf("%s had %d task interfaces before the kill and has %d after", victim.Host, before, after)
	}
}

func restart(t *testing.T, ctx context.Context, stage *story.Stage) {
	const host = 0
	before, err := stage.Rules(ctx, host)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(before, "tw-") {
		t.Fatalf("the host has no rules of ours:\n%s", before)
	}
	if err := stage.RestartAgent(ctx, host); err != nil {
		t.Fatal(err)
	}
	after, err := stage.Rules(ctx, host)
	if err != nil {
		t.Fatal(err)
	}
	if before != after {
		t.Errorf("the rules changed from\n%s\nto\n%s", before, after)
	}
	st, err := stage.Status(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range st.Endpoints {
		if e.Host == story.Hosts[host] && e.Wiring != events.Attached {
			t.Errorf("%s is %q after the restart", e.Task, e.Wiring)
		}
	}
}

// binaries is where TestMain builds the programs.
var binaries string

func TestMain(m *testing.M) {
	code, err := withBinaries(m.Run)
	if err != nil {
		os.Stderr.WriteString("building the programs: " + err.Error() + "\n")
		code = 1
	}
	os.Exit(code)
}

func withBinaries(run func() int) (int, error) {
	dir, err := os.MkdirTemp("", "taskwall-e2e-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	binaries = filepath.Join(dir, "bin")
	if err := build(binaries); err != nil {
		return 0, err
	}
	return run(), nil
}
