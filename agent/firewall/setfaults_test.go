package firewall

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/taskwall/taskwall/events/work"
)

// settled makes the kernel hold the picture and says what had to be mended; a
// second look must find nothing more.
func settled(t *testing.T, f *Firewall, p Picture) (drift []string) {
	t.Helper()
	ctx := context.Background()
	drift, failed, err := f.Sync(ctx, p)
	if err != nil || len(failed) > 0 {
		t.Fatalf("%v, %v", failed, err)
	}
	again, failed, err := f.Sync(ctx, p)
	if err != nil || len(failed)+len(again) > 0 {
		t.Fatalf("a second check finds %v, %v, %v", again, failed, err)
	}
	return drift
}

// A set that somebody made under one of our names, of another type, with less
// room or elements that end by themselves, is replaced.
func TestSetsOfOthersInOurNames(t *testing.T) {
	for _, create := range []string{
		"tw-s-web hash:ip", "tw-s-web hash:net maxelem 4", "tw-s-web hash:net timeout 300", "tw-s-web hash:net comment",
		"tw-s-named hash:net,port", "tw-s-named hash:ip,port timeout 1",
		"tw-src hash:ip", "tw-dst hash:net,iface", "tw-src hash:net,iface skbinfo maxelem 10", "tw-own hash:net timeout 1",
		"tw-standby list:set",
	} {
		t.Run(create, func(t *testing.T) {
			f := open(t, NFT)
			run(t, "ipset", append([]string{"create"}, strings.Fields(create)...)...)
			settled(t, f, sample())
			name, _, _ := strings.Cut(create, " ")
			out, err := exec.Command("ipset", "list", name, "-t").CombinedOutput()
			if name == "tw-standby" {
				if err == nil {
					t.Errorf("it is still there:\n%s", out)
				}
				return
			}
			if err != nil || !strings.Contains(string(out), "maxelem 1048576") || strings.Contains(string(out), "timeout") || strings.Contains(string(out), "comment") {
				t.Errorf("%v:\n%s", err, out)
			}
		})
	}
}

// A set that was put in the place of one of ours while rules refer to it is
// replaced under them.
func TestSetSwappedUnderRules(t *testing.T) {
	for _, b := range backends {
		t.Run(string(b), func(t *testing.T) {
			f := open(t, b)
			settled(t, f, sample())
			run(t, "ipset", "create", "stranger", "hash:net", "timeout", "300")
			run(t, "ipset", "add", "stranger", "192.0.2.1")
			run(t, "ipset", "swap", "stranger", "tw-s-web")
			if drift := settled(t, f, sample()); len(drift) == 0 {
				t.Error("it was not reported")
			}
			if out := run(t, "ipset", "list", "tw-s-web"); strings.Contains(out, "timeout") || !strings.Contains(out, "\n10.0.0.1\n") {
				t.Errorf("the set holds\n%s", out)
			}
		})
	}
}

// A set of another type that a stranger's rule holds cannot be replaced: what
// names it is closed, with the reason, all else is in force; once it can be, it is.
func TestSetHeldByStranger(t *testing.T) {
	f := open(t, NFT)
	ctx := context.Background()
	run(t, "ipset", "create", "tw-s-web", "hash:ip")
	run(t, "iptables-nft", "-A", "OUTPUT", "-m", "set", "--match-set", "tw-s-web", "src", "-j", "ACCEPT")
	p := sample()
	_, failed, err := f.Sync(ctx, p)
	if err != nil || !f.Closed("db") || f.Closed("open") {
		t.Fatalf("%v; db closed %v, open closed %v", err, f.Closed("db"), f.Closed("open"))
	}
	if said := fmt.Sprint(failed); !strings.Contains(said, "set web") || !strings.Contains(said, "in use") {
		t.Errorf("the failures are %s", said)
	}
	run(t, "iptables-nft", "-F", "OUTPUT")
	settled(t, f, p)
	if f.Closed("db") {
		t.Error("it is still closed")
	}
}

// An element that somebody made an exception is none of ours, though its
// network is.
func TestElementMadeAnException(t *testing.T) {
	f := open(t, NFT)
	settled(t, f, sample())
	run(t, "ipset", "del", "tw-s-web", "10.0.0.1")
	run(t, "ipset", "add", "tw-s-web", "10.0.0.1", "nomatch")
	if drift := settled(t, f, sample()); len(drift) != 1 {
		t.Errorf("drift: %q", drift)
	}
	if out := run(t, "ipset", "list", "tw-s-web"); strings.Contains(out, "nomatch") || !strings.Contains(out, "\n10.0.0.1\n") {
		t.Errorf("the set holds\n%s", out)
	}
}

// A set that cannot take all its members is reported, and what names it is
// closed: a ban that lacks members would let them in. It opens when they fit.
func TestFullSet(t *testing.T) {
	f := open(t, NFT)
	f.bulk.MaxElements = 4
	ctx := context.Background()
	p := sample()
	settled(t, f, p)
	edit := work.SetEdit{ID: "bad"}
	for i := range 10 {
		m := fmt.Sprintf("192.0.2.%d", i)
		edit.Add = append(edit.Add, m)
		p.Sets["bad"].Members[m] = struct{}{}
	}
	still := func(set, member string) bool { _, ok := p.Sets[set].Members[member]; return ok }
	if failed := f.Edit([]work.SetEdit{edit}, false, still); len(failed) != 1 || !strings.Contains(failed[0].Error, "full") {
		t.Errorf("the edit: %v", failed)
	}
	_, failed, err := f.Sync(ctx, p)
	if said := fmt.Sprint(failed); err != nil || !strings.Contains(said, "set bad") || !f.Closed("db") || f.Closed("open") {
		t.Fatalf("%v, %v; db closed %v, open closed %v", said, err, f.Closed("db"), f.Closed("open"))
	}
	edit.Remove, edit.Add = edit.Add, nil
	for _, m := range edit.Remove {
		delete(p.Sets["bad"].Members, m)
	}
	settled(t, f, p)
	if f.Closed("db") {
		t.Error("it is still closed")
	}
}
