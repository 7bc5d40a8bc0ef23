package nfnl

import (
	"errors"
	"os/exec"
	"strings"
	"testing"

	"github.com/mdlayher/netlink"
	"github.com/taskwall/taskwall/agent/internal/netlab"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { netlab.Main(m) }

func dial(t *testing.T) *Conn {
	t.Helper()
	c, err := Dial()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// destroy asks for the removal of a set that is not there.
func destroy(t *testing.T) netlink.Message {
	t.Helper()
	b, err := netlink.MarshalAttributes([]netlink.Attribute{
		{Type: 1, Data: []byte{6}}, {Type: 2, Data: append([]byte("tw-none"), 0)}, // IPSET_ATTR_PROTOCOL, _SETNAME
	})
	if err != nil {
		t.Fatal(err)
	}
	return netlink.Message{
		Header: netlink.Header{Type: 6<<8 | 3, Flags: netlink.Request | netlink.Acknowledge | netlink.Excl}, // NFNL_SUBSYS_IPSET, IPSET_CMD_DESTROY
		Data:   append([]byte{unix.AF_INET, 0, 0, 0}, b...),
	}
}

// ask makes a batch of requests, each of which must be answered.
func ask(t *testing.T, c *Conn, n int) {
	t.Helper()
	ms := make([]netlink.Message, n)
	for i := range ms {
		ms[i] = destroy(t)
	}
	answers, err := c.Do(ms...)
	if err != nil || len(answers) != n {
		t.Fatalf("%d answers to %d requests, %v", len(answers), n, err)
	}
	for i, a := range answers {
		if !errors.Is(a, unix.ENOENT) {
			t.Fatalf("answer %d is %v", i, a)
		}
	}
}

// A socket without room for the answers loses some, and the kernel says
// ENOBUFS: the request is made again on another, and no answer of the lost one is taken
// for one of the next.
func TestAnswersThatWereLost(t *testing.T) {
	c := dial(t)
	if err := c.nl.SetReadBuffer(1); err != nil { // the kernel makes it some 2 KB
		t.Fatal(err)
	}
	first := c.nl
	ask(t, c, 500)
	if c.nl == first {
		t.Fatal("nothing was lost: the test shows nothing")
	}
	ask(t, c, 3)
}

// A socket that something closed, or whose answers somebody else read, is replaced.
func TestSocketClosed(t *testing.T) {
	c := dial(t)
	c.nl.Close()
	ask(t, c, 3)
	c.nl.Close()
	n := 0
	if err := c.Dump(list, func() { n = 0 }, func([]byte) { n++ }); err != nil {
		t.Fatal(err)
	}
	c.Close()
	if _, err := c.Do(destroy(t)); err == nil {
		t.Error("a connection that was closed goes on")
	}
}

// Answers of an earlier request, which nobody took, are not those of the next.
func TestStaleAnswers(t *testing.T) {
	c := dial(t)
	stale := destroy(t)
	stale.Header.Sequence = 1 << 30
	if _, err := c.nl.Send(stale); err != nil {
		t.Fatal(err)
	}
	ask(t, c, 3)
}

var list = netlink.Message{
	Header: netlink.Header{Type: 10<<8 | 7, Flags: netlink.Request}, // NFNL_SUBSYS_NFTABLES, NFT_MSG_GETRULE
	Data:   []byte{unix.AF_INET, 0, 0, 0},
}

// A list that changes while it is read is read again, and what is given in the
// end is one whole reading; one that never stands still is an error.
func TestListChangesWhileRead(t *testing.T) {
	const rules = 2000
	patch := "*filter\n:many - [0:0]\n" + strings.Repeat("-A many -s 10.0.0.1 -d 10.0.0.2 -j ACCEPT\n", rules) + "COMMIT\n"
	restore := func(patch string) {
		cmd := exec.Command("iptables-nft-restore", "--noflush")
		cmd.Stdin = strings.NewReader(patch)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	restore(patch)
	t.Cleanup(func() { restore("*filter\n:many -\n-X many\nCOMMIT\n") })
	change := func() { restore("*filter\n-A many -s 10.0.0.3 -j ACCEPT\nCOMMIT\n") }
	c := dial(t)
	begun, n := 0, 0
	err := c.Dump(list, func() { begun, n = begun+1, 0 }, func([]byte) {
		if n++; n == 1 && begun == 1 {
			change()
		}
	})
	if err != nil || begun != 2 || n != rules+1 {
		t.Errorf("%d rules after %d readings, %v; want %d after 2", n, begun, err, rules+1)
	}
	err = c.Dump(list, func() { n = 0 }, func([]byte) {
		if n++; n == 1 {
			change()
		}
	})
	if !errors.Is(err, ErrInterrupted) {
		t.Errorf("a list that always changes: %v", err)
	}
	ask(t, c, 3)
}
