package firewall

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/coreos/go-iptables/iptables"
)

// Backend names a variant of the iptables tools.
type Backend string

// The backends. Auto takes the one that the host's own rules are in already,
// so that ours meet packets in the same place and are seen by the same tools.
const (
	Auto   Backend = "auto"
	NFT    Backend = "nft"
	Legacy Backend = "legacy"
)

// tools runs the iptables programs of one backend. The kernel's tables are
// those of the network namespace that the calling thread is in.
type tools struct {
	backend Backend
	reason  string      // why this backend
	writers writers     // of nft rules
	legacy  legacyWatch // of legacy rules

	patience time.Duration // 0: the constant
}

// lockWait is how long, in seconds, a program waits for another user of the
// xtables lock. Others hold it for as long as they take to write their rules; what waits
// behind ours may take something away, so somebody who keeps it must not hold up more.
const lockWait = "5"

// patience bounds a program's run, lock and all: one that hangs is killed, and
// counts as not having decided anything.
const patience = 60 * time.Second

// detect resolves Auto and checks that the tools are there.
func detect(ctx context.Context, b Backend) (*tools, error) {
	switch b {
	case NFT, Legacy:
		t := &tools{backend: b, reason: "it was asked for"}
		return t, t.check()
	case Auto, "":
	default:
		return nil, fmt.Errorf("iptables backend %q: want auto, nft or legacy", b)
	}
	nft, legacy := &tools{backend: NFT}, &tools{backend: Legacy}
	if legacy.check() != nil {
		nft.reason = "iptables-legacy is not installed"
		return nft, nft.check()
	}
	if nft.check() != nil {
		legacy.reason = "iptables-nft is not installed"
		return legacy, nil
	}
	inNFT, inLegacy := nft.rules(ctx), legacy.rules(ctx)
	switch {
	case inLegacy > inNFT:
		legacy.reason = fmt.Sprintf("the host has %d rules in it and %d in nft", inLegacy, inNFT)
		return legacy, nil
	case inNFT > 0:
		nft.reason = fmt.Sprintf("the host has %d rules in it and %d in legacy", inNFT, inLegacy)
		return nft, nil
	}
	out, err := exec.CommandContext(ctx, "iptables", "--version").Output()
	if err == nil && strings.Contains(string(out), "legacy") {
		legacy.reason = "it is the host's default"
		return legacy, nil
	}
	nft.reason = "it is the host's default"
	return nft, nil
}

// installed says which program is missing.
func (t *tools) installed() error {
	for _, p := range []string{t.program(4, "restore"), t.program(4, "save"), t.program(6, "restore"), t.program(6, "save")} {
		if _, err := exec.LookPath(p); err != nil {
			return fmt.Errorf("iptables backend %s: %w (install the iptables package)", t.backend, err)
		}
	}
	return nil
}

// check says what is missing, or too old. It runs the programs.
func (t *tools) check() error {
	if err := t.installed(); err != nil {
		return err
	}
	for family, protocol := range map[int]iptables.Protocol{4: iptables.ProtocolIPv4, 6: iptables.ProtocolIPv6} {
		name := strings.TrimSuffix(t.program(family, ""), "-")
		tool, err := iptables.New(iptables.IPFamily(protocol), iptables.Path(name)) // asks the tool for its version
		if err != nil {
			return fmt.Errorf("iptables backend %s: %s does not work: %w", t.backend, name, err)
		}
		if major, minor, patch := tool.GetIptablesVersion(); major < 1 || major == 1 && minor < 8 {
			return fmt.Errorf("iptables backend %s: %s has version %d.%d.%d, and 1.8 is needed: older ones cannot wait for the lock in a restore",
				t.backend, name, major, minor, patch)
		}
	}
	return nil
}

// used says whether the kernel holds tables of the backend: asking legacy tools
// about tables that are not there would make them.
func (t *tools) used(family int) bool {
	if t.backend != Legacy {
		return true
	}
	file := "/proc/net/ip_tables_names"
	if family == 6 {
		file = "/proc/net/ip6_tables_names"
	}
	b, err := os.ReadFile(file)
	return err == nil && len(b) > 0
}

// rules counts the host's rules in the backend's filter and nat tables.
func (t *tools) rules(ctx context.Context) int {
	if !t.used(4) {
		return 0
	}
	out, err := exec.CommandContext(ctx, t.program(4, "save")).Output()
	if err != nil {
		return 0
	}
	return bytes.Count(out, []byte("\n-A "))
}

func (t *tools) program(family int, verb string) string {
	name := "iptables"
	if family == 6 {
		name = "ip6tables"
	}
	return name + "-" + string(t.backend) + "-" + verb
}

// save reads all tables of a family: one process, whatever their number. A
// table that is not there is empty.
func (t *tools) save(ctx context.Context, family int) (map[string]saved, error) {
	ctx, cancel := context.WithTimeout(ctx, t.limit())
	defer cancel()
	cmd := exec.CommandContext(ctx, t.program(family, "save"))
	cmd.WaitDelay = time.Second
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("reading the tables with %s: %w: %s", cmd.Path, err, firstLine(stderr.Bytes()))
	}
	return parseSave(out), nil
}

// restore applies patches, each table's atomically, without touching what they
// do not name. They are written while the program starts.
func (t *tools) restore(ctx context.Context, family int, patch func() string) error {
	ctx, cancel := context.WithTimeout(ctx, t.limit())
	defer cancel()
	cmd := exec.CommandContext(ctx, t.program(family, "restore"), "--noflush", "-w", lockWait)
	cmd.WaitDelay = time.Second
	input := promised{text: make(chan string, 1)}
	cmd.Stdin = &input
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := t.legacy.write(func() error {
		err := cmd.Start()
		if err == nil {
			t.writers.add(cmd.Process.Pid)
			input.text <- patch()
			err = cmd.Wait()
		}
		return err
	})
	if err == nil {
		return nil
	}
	said := firstLine(out.Bytes())
	if strings.Contains(said, xtablesLock) {
		said += lockHolder()
	}
	if ctx.Err() != nil {
		err = fmt.Errorf("ended after %s: %w", t.limit(), ctx.Err())
	}
	if !refused(err, out.String()) {
		err = errors.Join(errUndecided, err)
	}
	return fmt.Errorf("%s: %w: %s", cmd.Path, err, said)
}

// promised reads a text that comes later.
type promised struct {
	text chan string
	r    *strings.Reader
}

func (p *promised) Read(b []byte) (int, error) {
	if p.r == nil {
		p.r = strings.NewReader(<-p.text)
	}
	return p.r.Read(b)
}

// errUndecided says that a patch failed for a reason that is not in it: the same
// patch may be taken the next time.
var errUndecided = errors.New("the rules were not judged")

// refused tells a patch that the kernel, or the program, found wrong from a
// program that was killed, could not run, or met others at work.
func refused(err error, said string) bool {
	var exit *exec.ExitError
	if !errors.As(err, &exit) || !exit.Exited() {
		return false
	}
	for _, passing := range []syscall.Errno{syscall.EAGAIN, syscall.ENOMEM, syscall.ENOBUFS, syscall.EMFILE, syscall.ENFILE, syscall.EINTR} {
		text := passing.Error()
		if strings.Contains(strings.ToLower(said), text) {
			return false
		}
	}
	return !strings.Contains(said, xtablesLock)
}

func (t *tools) limit() time.Duration { return cmp.Or(t.patience, patience) }

func firstLine(b []byte) string {
	line, _, _ := strings.Cut(strings.TrimSpace(string(b)), "\n")
	return line
}
