package main

import (
	"bufio"
	"context"
	"encoding/json"
	"regexp"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/taskwall/taskwall/e2e/sim"
	"github.com/taskwall/taskwall/events/bus"
	"github.com/taskwall/taskwall/events/work"
)

// simulate starts a simulated Mesos with hosts of these names, each with the
// attribute rack:r1, and puts the master's URL into $MESOS.
func simulate(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: mesos HOST...")
	}
	cfg := sim.Config{NoMarathon: true, Dir: ts.MkAbs("mesos")}
	for _, name := range args {
		cfg.Hosts = append(cfg.Hosts, sim.Host{Name: name, Attributes: map[string]string{"rack": "r1"}})
	}
	ctx, cancel := context.WithCancel(context.Background())
	c, err := sim.Start(ctx, cfg)
	ts.Defer(cancel)
	ts.Check(err)
	ts.Defer(func() { ts.Check(c.Close()) })
	ts.Setenv("MESOS", c.MasterURL())
}

// reports sends the reports of a file, each line "HOST {JSON}", as the agents of
// these hosts would.
func reports(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: report FILE")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	conn, err := bus.Connect(ctx, bus.Options{URLs: []string{"nats://" + ts.Getenv("NATS")}, Name: "agents"})
	ts.Check(err)
	defer conn.Close()
	lines := bufio.NewScanner(strings.NewReader(ts.ReadFile(args[0])))
	for lines.Scan() {
		host, body, _ := strings.Cut(lines.Text(), " ")
		r := work.Report{Time: time.Now().UTC()}
		ts.Check(json.Unmarshal([]byte(body), &r))
		ts.Check(work.NewReporter(conn, host).Report(ctx, r))
	}
	ts.Check(lines.Err())
}

// seen runs a command until a line of what it prints matches, whatever its exit
// status.
func seen(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: seen PATTERN command [args...]")
	}
	pattern, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	deadline := time.Now().Add(20 * time.Second)
	for {
		_ = ts.Exec(args[1], args[2:]...) // what it prints counts
		if pattern.MatchString(ts.ReadFile("stdout")) {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%v never printed %s", args[1:], args[0])
		}
		time.Sleep(50 * time.Millisecond)
	}
}
