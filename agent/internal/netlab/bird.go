package netlab

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Bird is a BIRD 2 router (https://bird.network.cz) inside a namespace.
type Bird struct {
	t       testing.TB
	ns      *Namespace
	conf    string
	control string
	cmd     *exec.Cmd
}

// Bird runs BIRD with a configuration until the test ends.
func (n *Namespace) Bird(t testing.TB, conf string) *Bird {
	t.Helper()
	id := counter.Add(1)
	b := &Bird{t: t, ns: n, conf: filepath.Join(t.TempDir(), "bird.conf"), control: fmt.Sprintf("/run/netlab/bird%d", id)}
	if err := os.WriteFile(b.conf, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	b.Start()
	t.Cleanup(b.Kill)
	return b
}

// Start runs it again after Kill, with more arguments.
func (b *Bird) Start(args ...string) {
	b.t.Helper()
	var log bytes.Buffer
	cmd := exec.Command("bird", append([]string{"-f", "-c", b.conf, "-s", b.control}, args...)...)
	cmd.Stderr = &log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	b.ns.Do(cmd.Start)
	b.cmd = cmd
	var err error
	for limit := time.Now().Add(10 * time.Second); time.Now().Before(limit); time.Sleep(10 * time.Millisecond) {
		if _, err = b.Ask("show status"); err == nil {
			return
		}
	}
	b.Kill()
	b.t.Fatalf("BIRD does not answer: %v: %s", err, log.String())
}

// Kill ends BIRD without a word to its peers.
func (b *Bird) Kill() {
	if b.cmd != nil {
		b.cmd.Process.Kill() //nolint:errcheck // Wait tells
		b.cmd.Wait()         //nolint:errcheck // it was killed
		b.cmd = nil
	}
}

// Ask is a birdc command's answer.
func (b *Bird) Ask(command string) (string, error) {
	out, err := exec.Command("birdc", append([]string{"-s", b.control}, strings.Fields(command)...)...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("birdc %s: %w: %s", command, err, out)
	}
	return string(out), nil
}

// Has says that BIRD learned a route to a network by BGP whose details hold
// every text.
func (b *Bird) Has(network string, texts ...string) error {
	out, err := b.Ask("show route " + network + " all")
	if err != nil {
		return err
	}
	if !strings.Contains(out, "BGP") || !strings.Contains(out, network) {
		return fmt.Errorf("no route to %s: %s", network, out)
	}
	for _, t := range texts {
		if !strings.Contains(out, t) {
			return fmt.Errorf("the route to %s lacks %q: %s", network, t, out)
		}
	}
	return nil
}

// Up says that the named BGP session is established.
func (b *Bird) Up(name string) error {
	out, err := b.Ask("show protocols " + name)
	if err == nil && !strings.Contains(out, "Established") {
		err = fmt.Errorf("not established: %s", out)
	}
	return err
}
