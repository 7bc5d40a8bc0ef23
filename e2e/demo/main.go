// Command demo plays the story (package story) on this machine and shows what
// Taskwall does with it: who can reach whom, a policy change, a scaling, a
// kill, and the proof of the log. It needs root, for network namespaces, and
// the binaries beside it. Exit status 0 only if everything was as expected.
//
// With KEEP=1 in the environment it leaves everything running until Ctrl-C.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/taskwall/taskwall/e2e/deploy"
	"github.com/taskwall/taskwall/e2e/story"
	"github.com/taskwall/taskwall/events"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx)
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, paint(red, "demo: stopped; everything that it made is removed"))
		os.Exit(130)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, paint(red, "demo: "+err.Error()))
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context) (err error) {
	if os.Geteuid() != 0 {
		return errors.New("it makes network namespaces and must run as root")
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	start := time.Now()
	opt := deploy.Options{Prefix: fmt.Sprintf("twd%d", os.Getpid()%10000), Bin: filepath.Dir(self)}
	if os.Getenv("VERBOSE") != "" {
		opt.Log = os.Stderr
	}
	title("A cluster of three hosts, and two machines outside it")
	stage, err := story.Set(ctx, opt)
	if stage != nil {
		defer func() { err = errors.Join(err, stage.Strike()) }()
	}
	if err != nil {
		return err
	}
	say("controller and %d agents run; the cluster is simulated, the network is real", len(story.Hosts))

	wrong := 0
	for _, act := range []func(context.Context, *story.Stage) (int, error){launch, change, scaleAndKill, verify} {
		n, err := act(ctx, stage)
		if err != nil {
			return err
		}
		wrong += n
	}
	fmt.Println()
	if wrong > 0 {
		return fmt.Errorf("%d things were not as expected", wrong)
	}
	fmt.Println(paint(green, fmt.Sprintf("Everything was as expected, in %s.", time.Since(start).Round(100*time.Millisecond))))
	if os.Getenv("KEEP") != "" {
		keep(ctx, stage, opt)
	}
	return nil
}

func launch(ctx context.Context, s *story.Stage) (int, error) {
	title("The security team's policies, then the apps")
	result, err := s.Apply(ctx, s.Policies(), "ann@security", "4f2c9e1")
	if err != nil {
		return 0, err
	}
	say("%d policy resources applied by ann@security, commit 4f2c9e1", len(result.Changed))
	if err := s.Deploy(ctx); err != nil {
		return 0, err
	}
	out, err := s.Taskwall(ctx, "status")
	if err != nil {
		return 0, err
	}
	fmt.Println()
	fmt.Println(indent(out))
	title("Who reaches whom: every pair, with real connections")
	return observations(s.Observe(ctx, false), nil), ctx.Err()
}

func change(ctx context.Context, s *story.Stage) (int, error) {
	title("A policy change: the report may read the orders, web loses the metrics port")
	before := s.Observe(ctx, false)
	result, err := s.Apply(ctx, s.Change(), "bob@security", "9a77d03")
	if err != nil {
		return 0, err
	}
	for _, c := range result.Changed {
		say("%s", c)
	}
	wrong := 0
	for _, host := range events.SortedKeys(result.Hosts) {
		took := result.Hosts[host]
		if took == 0 {
			wrong++
			say("%s", paint(red, host+" has not reported"))
			continue
		}
		say("in the kernel of %s after %s", host, took.Round(100*time.Microsecond))
	}
	fmt.Println()
	return wrong + observations(s.Observe(ctx, true), before), ctx.Err()
}

func scaleAndKill(ctx context.Context, s *story.Stage) (int, error) {
	title("Scale payments to three, then kill it: nothing stays behind")
	if err := s.Scale(ctx, "/shop/payments", 3); err != nil {
		return 0, err
	}
	victim, err := s.Pick(ctx, "/shop/payments")
	if err != nil {
		return 0, err
	}
	say("three tasks of /shop/payments run; %s has %s on %s", short(victim.ID), victim.Address, victim.Host)
	links, err := s.Interfaces(ctx, victim.Host)
	if err != nil {
		return 0, err
	}
	traces, err := s.Traces(ctx, victim.Address)
	if err != nil {
		return 0, err
	}
	wrong := 0
	if len(traces) == 0 {
		wrong++
		say("%s", paint(red, "no trace of it while it lives: the search is broken"))
	}
	say("while it lives: %d task interfaces on %s, %d traces of its address on the hosts", links, victim.Host, len(traces))
	if err := s.Kill(ctx, "/shop/payments"); err != nil {
		return wrong, err
	}
	after, err := s.Interfaces(ctx, victim.Host)
	if err != nil {
		return wrong, err
	}
	traces, err = s.Traces(ctx, victim.Address)
	if err != nil {
		return wrong, err
	}
	say("after the kill: %d task interfaces on %s, %d traces of its address", after, victim.Host, len(traces))
	for _, t := range traces {
		say("%s", paint(red, t))
	}
	if after >= links {
		wrong++
	}
	return wrong + len(traces), nil
}

func verify(ctx context.Context, s *story.Stage) (int, error) {
	title("The proof: all that the log says, that hosts were told, and that they hold")
	say("taskwall audit verify --trust checkpoint.pub")
	out, err := s.Verify(ctx)
	fmt.Println(indent(out))
	return 0, err
}

func keep(ctx context.Context, s *story.Stage, opt deploy.Options) {
	title("Left running for a look around; Ctrl-C ends it")
	for _, h := range story.Hosts {
		say("ip netns exec %s-%s iptables -S", opt.Prefix, h)
	}
	say("ip netns exec %s-ctl %s/taskwall status %s", opt.Prefix, opt.Bin, strings.Join(s.Credentials(), " "))
	say("ip netns exec %s-ctl %s/taskwall audit timeline --app /shop/payments %s", opt.Prefix, opt.Bin, strings.Join(s.Auditor(), " "))
	<-ctx.Done()
}

func indent(text string) string {
	return "  " + strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n  ")
}
