package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/bus"
	"github.com/taskwall/taskwall/events/eventlog"
	"github.com/taskwall/taskwall/events/work"
)

// playRecord serves, at $NATS and without a controller, the streams of a story:
// a file of lines such as
//
//	14:00:01 {"kind":"task.put","task":{…}}
//	14:00:02 h1 {"logged":{…}}
//
// an event, or what a host reported, on 2024-03-14 in UTC. The server lets in
// the users of users.yaml, which keys made.
func playRecord(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: record file")
	}
	users, err := bus.LoadUsers(ts.MkAbs("users.yaml"))
	ts.Check(err)
	server, err := bus.StartServer(bus.ServerOptions{
		Name: "record", Dir: ts.MkAbs("streams"), Listen: ts.Getenv("NATS"), Users: users,
	}, nil)
	ts.Check(err)
	ts.Defer(server.Shutdown)
	fill(ts, server, ts.MkAbs(args[0]))
}

func fill(ts *testscript.TestScript, server *bus.Server, file string) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	dial := func(user, host string) *bus.Conn {
		conn, err := bus.Connect(ctx, bus.Options{Server: server, Name: "record", Host: host, NKeyFile: ts.MkAbs(user + ".nk")})
		ts.Check(err)
		return conn
	}
	conn, agent := dial("controller", ""), dial("agent", "h1")
	defer conn.Close()
	defer agent.Close()
	ts.Check(bus.EnsureStreams(ctx, conn.JS, bus.Retention{}, 1))
	log, err := eventlog.Open(ctx, conn.JS, eventlog.Options{Epoch: 1})
	ts.Check(err)
	story, err := os.Open(file)
	ts.Check(err)
	defer story.Close()
	lines := bufio.NewScanner(story)
	for n := 1; lines.Scan(); n++ {
		clock, rest, _ := strings.Cut(lines.Text(), " ")
		host, body, isReport := strings.Cut(rest, " {")
		at, err := time.Parse(time.DateTime, "2024-03-14 "+clock)
		ts.Check(err)
		if isReport && !strings.HasPrefix(host, "{") {
			rep := work.Report{Time: at}
			ts.Check(json.Unmarshal([]byte("{"+body), &rep))
			ts.Check(work.NewReporter(agent, host).Report(ctx, rep))
			continue
		}
		ev := events.Event{Schema: events.Schema, ID: fmt.Sprintf("line-%d", n), Source: "story", Time: at, Received: at}
		ts.Check(json.Unmarshal([]byte(rest), &ev))
		_, err = log.Append(ctx, ev)
		ts.Check(err)
	}
	ts.Check(lines.Err())
}
