package main

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/taskwall/taskwall/events/bus"
	"github.com/taskwall/taskwall/events/bus/bustest"
)

func TestWrongUsersFileChangesNothing(t *testing.T) {
	seed, public, err := bus.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	users := &bus.Users{Controller: public}
	server := bustest.Server(t, func(o *bus.ServerOptions) { o.Users = users })
	conn := bustest.Connect(t, server, func(o *bus.Options) { o.NKeySeed = seed })
	path := filepath.Join(t.TempDir(), "users.yaml")
	for name, c := range map[string]struct{ text, says string }{
		"no controller": {"agents: {}\n", "no key for the controller"},
		"unknown field": {"controller: " + public + "\nagent: {h1: x}\n", "unknown field"},
		"no key":        {"controller: root\n", "not a public user key"},
		"cut off":       {"controller: [", "users.yaml"},
	} {
		if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		var said bytes.Buffer
		reloadUsers(server, path, slog.New(slog.NewTextHandler(&said, nil)))
		if out := said.String(); !strings.Contains(out, "stay as they were") || !strings.Contains(out, c.says) {
			t.Errorf("%s: logged %q", name, out)
		}
		if _, err := conn.JS.AccountInfo(bustest.Context(t)); err != nil {
			t.Errorf("%s: the controller was cut off: %v", name, err)
		}
	}
	var said bytes.Buffer
	reloadUsers(server, "", slog.New(slog.NewTextHandler(&said, nil)))
	if !strings.Contains(said.String(), "stay as they were") { // a server that told users apart goes on to
		t.Errorf("without a file: logged %q", said.String())
	}
}
