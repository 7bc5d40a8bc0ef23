package firewall

import (
	"bufio"
	"bytes"
	"os"
	"strconv"
	"strings"
	"sync"
)

// saved is a table as iptables-save shows it: every chain with its rules.
type saved map[string]rules

// parseSave reads the output of iptables-save, by table.
func parseSave(out []byte) map[string]saved {
	tables := map[string]saved{}
	s := saved{}
	sc := bufio.NewScanner(bytes.NewReader(out))
	sc.Buffer(make([]byte, 64<<10), 1<<20)
	for sc.Scan() {
		line := sc.Text()
		if name, ok := strings.CutPrefix(line, "*"); ok {
			s = saved{}
			tables[name] = s
			continue
		}
		if name, ok := strings.CutPrefix(line, ":"); ok {
			name, _, _ = strings.Cut(name, " ")
			s[name] = nil
			continue
		}
		rest, ok := strings.CutPrefix(line, "-A ")
		if !ok {
			continue
		}
		name, rule, _ := strings.Cut(rest, " ")
		s[name] = append(s[name], canonical(strings.TrimSpace(rule)))
	}
	return tables
}

// canonical undoes what depends on the host: the names that /etc/protocols
// gives to protocol numbers other than those we write by name.
func canonical(rule string) string {
	at := protocolAt(rule)
	if at < 0 {
		return rule
	}
	name := rule[at:]
	if end := strings.IndexByte(name, ' '); end >= 0 {
		name = name[:end]
	}
	n, ok := protocolNumbers()[name]
	if !ok {
		return rule
	}
	if _, ours := protocols[n]; ours {
		return rule
	}
	return rule[:at] + strconv.Itoa(n) + rule[at+len(name):]
}

// protocolAt is where a rule names its protocol, before any text in quotes; -1
// if it does not. A host may have tens of thousands of rules to look at.
func protocolAt(rule string) int {
	const option = "-p "
	if strings.HasPrefix(rule, option) {
		return len(option)
	}
	if quote := strings.IndexByte(rule, '"'); quote >= 0 {
		rule = rule[:quote]
	}
	if i := strings.Index(rule, " "+option); i >= 0 {
		return i + 1 + len(option)
	}
	return -1
}

var protocolNumbers = sync.OnceValue(func() map[string]int {
	// What iptables knows without the file, then the file.
	ns := map[string]int{"esp": 50, "ah": 51, "ipv6-icmp": 58, "ipv6-mh": 135, "mh": 135}
	b, err := os.ReadFile("/etc/protocols")
	if err != nil {
		return ns // then iptables-save shows numbers too
	}
	for line := range strings.Lines(string(b)) {
		line, _, _ = strings.Cut(line, "#")
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		if n, err := strconv.Atoi(f[1]); err == nil {
			ns[f[0]] = n
		}
	}
	return ns
})
