package firewall

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// prefix starts the name of every chain and set that is ours. What has it and
// is not wanted is swept.
const prefix = "tw-"

// ifacePrefix starts the host side name of every task's interface. An
// interface with it that nobody vouched for carries nothing.
const ifacePrefix = "tw"

const tasks = ifacePrefix + "+" // every task's interface, in a rule

// Names of the constant chains and sets.
const (
	setSrc = prefix + "src" // (address, interface) of each endpoint, with its egress posture
	setDst = prefix + "dst" // the same, with its ingress posture
	setOwn = prefix + "own" // the address of each endpoint, to know it when it comes from elsewhere

	chainSource  = prefix + "source"
	chainMark    = prefix + "mark"
	chainTracked = prefix + "tracked"
	chainForward = prefix + "forward"
	chainInput   = prefix + "input"
	chainOutput  = prefix + "output"
	chainTask    = prefix + "task"
	chainHost    = prefix + "host"
	chainAllowed = prefix + "allowed" // by the sender's posture
	chainAccept  = prefix + "accept"
	chainClosed  = prefix + "closed"
	chainInvalid = prefix + "invalid"
)

// setName is the kernel's name of a work item's set.
func setName(id string) string { return prefix + "s-" + id }

// The longest names of sets and postures, in bytes: see work.Set, work.Program.
const (
	maxSetID     = 24
	maxPostureID = 16
)

// named says whether a name from a work item is one: it becomes part of lines
// that iptables-restore reads, and of names in the kernel. Anything else could be a line
// of its own, whatever the controller meant by it.
func named(id string, most int) bool {
	odd := func(c rune) bool { return (c < 'a' || c > 'z') && (c < '0' || c > '9') }
	return id != "" && len(id) <= most && !strings.ContainsFunc(id, odd)
}

// direction is one way through a posture.
type direction struct {
	name  string // of its dispatch tree's root
	short string // in its postures' chain names
	word  string // for people
	shift uint   // of its bits in the mark
	allow string // where a packet goes that the posture allows
}

var (
	egress  = direction{prefix + "egress", "e", "egress", 0, chainAllowed}
	ingress = direction{prefix + "ingress", "i", "ingress", indexBits, chainAccept}
)

// indexBits is how many bits of the mark name a posture; index 0 is none, so a
// host can have 16,383 postures at a time.
const (
	indexBits = 14
	indexMask = 1<<indexBits - 1
	ourBits   = 1<<(2*indexBits) - 1
)

// mask is the direction's bits in the mark.
func (d direction) mask() uint32 { return indexMask << d.shift }

// postureChain is the chain of a posture's nth tier; the first is its entry.
func (d direction) postureChain(posture string, tier int) string {
	s := prefix + d.short + "-" + posture
	if tier > 0 {
		s += fmt.Sprintf("-%d", tier)
	}
	return s
}

// shortHash is enough of a hash to tell some thousands of names apart: 40 bits.
func shortHash(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(sum[:5])
}

// words makes any text safe inside a comment or log prefix, of at most max
// bytes: iptables takes no more, and quotes would have to be escaped. It
// always holds a space, because iptables-save quotes only what needs it, and
// what we write must read back the same.
func words(text string, max int) string {
	if len(text) <= max && plain(text) {
		return text
	}
	text = strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', strings.ContainsRune(" -_./:,;=()#+*@", r):
			return r
		}
		return '_'
	}, text)
	if len(text) > max {
		text = text[:max-3] + "..."
	}
	text = strings.TrimSpace(text)
	if !strings.Contains(text, " ") {
		text = "is " + text[:min(len(text), max-3)]
	}
	return text
}

// plain says that words would change nothing but the length of a text: most are
// so, and a host's first picture has tens of thousands.
func plain(text string) bool {
	space := false
	for i := range len(text) {
		c := text[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '-' && c <= ':': // - . / 0 to 9 :
		case c == ' ' && i > 0 && i < len(text)-1:
			space = true
		default:
			return false
		}
	}
	return space
}

func comment(text string) string {
	return ` -m comment --comment "` + words(text, 250) + `"`
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
