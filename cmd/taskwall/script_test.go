package main

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"log"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/taskwall/taskwall/events/bus"
	"github.com/taskwall/taskwall/events/bus/freeport"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"taskwall": main, "nats-server": natsServer})
}

// natsServer is the stand-alone server, as far as scripts use it.
func natsServer() {
	if len(os.Args) != 3 || os.Args[1] != "-c" {
		log.Fatal("usage: nats-server -c FILE")
	}
	opts, err := server.ProcessConfigFile(os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	s, err := server.NewServer(opts)
	if err != nil {
		log.Fatal(err)
	}
	s.ConfigureLogger()
	s.Start()
	s.WaitForShutdown()
}

// TestScripts runs the scripts of testdata/script: what people type, and what
// they see. Each gets a free port for NATS in $NATS, as an address.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			address, err := freeAddress()
			env.Setenv("NATS", address)
			env.Setenv("TASKWALL_NATS_URL", "nats://"+address)
			if err == nil {
				var demo string
				demo, err = filepath.Abs("testdata/demo")
				env.Setenv("DEMO", demo) // as for docs/audit.md
			}
			return err
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"eventually": eventually, "seen": seen, "mesos": simulate, "report": reports, "keys": keys, "viewer": addViewer, "hangup": hangUp, "record": playRecord, "checkpointkey": checkpointKey, "past": past, "harm": harm, "github": gitHub, "jenkins": jenkins},
	})
}

// eventually runs a command until it succeeds, as a person waiting would.
func eventually(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: eventually command [args...]")
	}
	deadline := time.Now().Add(20 * time.Second)
	for {
		err := ts.Exec(args[0], args[1:]...)
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%v still fails: %v", args, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// keys makes users.yaml, and NAME.nk for each of its users: one in every role.
func keys(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) > 0 {
		ts.Fatalf("usage: keys")
	}
	key := func(name string) string {
		seed, public, err := bus.NewKey()
		ts.Check(err)
		ts.Check(os.WriteFile(ts.MkAbs(name+".nk"), seed, 0o600))
		return public
	}
	users := bus.Users{Controller: key("controller"), Auditor: key("auditor"), Operators: map[string]string{"ann": key("operator")},
		Viewers: map[string]string{"dashboard": key("viewer")}, Agents: map[string]string{"h1": key("agent")}}
	ts.Check(users.Save(ts.MkAbs("users.yaml")))
}

// addViewer gives a name and the key in a file a line in users.yaml.
func addViewer(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: viewer NAME file")
	}
	users, err := bus.LoadUsers(ts.MkAbs("users.yaml"))
	ts.Check(err)
	users.Viewers[args[0]] = strings.TrimSpace(ts.ReadFile(args[1]))
	ts.Check(users.Save(ts.MkAbs("users.yaml")))
}

// hangUp has what runs in the background read its files again.
func hangUp(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) > 0 {
		ts.Fatalf("usage: hangup")
	}
	for _, c := range ts.BackgroundCmds() {
		ts.Check(c.Process.Signal(syscall.SIGHUP))
	}
}

// checkpointKey makes a key that signs checkpoints.
func checkpointKey(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: checkpointkey file")
	}
	_, private, err := ed25519.GenerateKey(nil)
	ts.Check(err)
	der, err := x509.MarshalPKCS8PrivateKey(private)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600))
}

func freeAddress() (string, error) {
	addr, err := freeport.Address()
	if err != nil {
		return "", err
	}
	return addr, os.Unsetenv("TASKWALL_NATS_URL")
}
