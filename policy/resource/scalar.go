package resource

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/taskwall/taskwall/policy/strict"
)

// Protocol is an IANA protocol number, 1 to 255; 0 is absent. In files it is a
// number or one of Calico's names, in whatever case.
type Protocol int

// The protocols with names.
const (
	ICMPv4  Protocol = 1
	TCP     Protocol = 6
	UDP     Protocol = 17
	ICMPv6  Protocol = 58
	SCTP    Protocol = 132
	UDPLite Protocol = 136
)

var protocolNames = map[Protocol]string{ICMPv4: "ICMP", TCP: "TCP", UDP: "UDP", ICMPv6: "ICMPv6", SCTP: "SCTP", UDPLite: "UDPLite"}

// ParseProtocol reads a protocol's name or number.
func ParseProtocol(text string) (Protocol, error) {
	for p, name := range protocolNames {
		if strings.EqualFold(name, text) {
			return p, nil
		}
	}
	if n, err := strconv.Atoi(text); err == nil {
		if n < 1 || n > 255 {
			return 0, wrongValue(fmt.Sprintf("no protocol has the number %d", n), "write 1 to 255")
		}
		return Protocol(n), nil
	}
	return 0, wrongValue(fmt.Sprintf("no protocol is called %q", text), strict.DidYouMean(text, []string{"TCP", "UDP", "ICMP", "ICMPv6", "SCTP", "UDPLite"})+", or its number")
}

// String is the protocol's name or number.
func (p Protocol) String() string {
	if name, ok := protocolNames[p]; ok {
		return name
	}
	return strconv.Itoa(int(p))
}

// HasPorts reports whether the protocol's packets carry ports that rules can
// test.
func (p Protocol) HasPorts() bool { return p == TCP || p == UDP || p == SCTP }

// MarshalJSON writes the name, or the number of a protocol without one.
func (p Protocol) MarshalJSON() ([]byte, error) {
	if name, ok := protocolNames[p]; ok {
		return json.Marshal(name)
	}
	return json.Marshal(int(p))
}

// UnmarshalJSON reads a name or a number.
func (p *Protocol) UnmarshalJSON(b []byte) error {
	parsed, err := ParseProtocol(unquote(b))
	if err == nil {
		*p = parsed
	}
	return err
}

// Port is a range of port numbers, or the name of a port.
type Port struct {
	First, Last uint16
	Name        string
}

var portName = regexp.MustCompile(`^[a-zA-Z0-9_.-]{1,128}$`)

// parsePort reads 80, "80:90" or a name.
func parsePort(text string) (Port, error) {
	const instead = "write a number from 0 to 65535, a range \"8000:8080\", or a port's name"
	first, last, isRange := strings.Cut(text, ":")
	if !isRange {
		last = first
	}
	a, errA := strconv.ParseUint(first, 10, 16)
	b, errB := strconv.ParseUint(last, 10, 16)
	switch {
	case errA == nil && errB == nil && a <= b:
		return Port{First: uint16(a), Last: uint16(b)}, nil
	case errA == nil && errB == nil:
		return Port{}, wrongValue(fmt.Sprintf("the range %s ends before it begins", text), fmt.Sprintf("write \"%d:%d\"", b, a))
	case isRange:
		return Port{}, wrongValue(fmt.Sprintf("%q is no range of ports", text), instead)
	}
	if _, err := strconv.ParseFloat(text, 64); err == nil || !portName.MatchString(text) {
		return Port{}, wrongValue(fmt.Sprintf("%q is no port", text), instead)
	}
	return Port{Name: text}, nil
}

// String is the port as it is written in files.
func (p Port) String() string {
	switch {
	case p.Name != "":
		return p.Name
	case p.First == p.Last:
		return strconv.Itoa(int(p.First))
	}
	return fmt.Sprintf("%d:%d", p.First, p.Last)
}

// MarshalJSON writes a number, or a range or name as a string.
func (p Port) MarshalJSON() ([]byte, error) {
	if p.Name == "" && p.First == p.Last {
		return json.Marshal(p.First)
	}
	return json.Marshal(p.String())
}

// UnmarshalJSON reads a number, a range or a name.
func (p *Port) UnmarshalJSON(b []byte) error {
	parsed, err := parsePort(unquote(b))
	if err == nil {
		*p = parsed
	}
	return err
}

func unquote(b []byte) string {
	var s string
	if json.Unmarshal(b, &s) == nil {
		return s
	}
	return string(b)
}

func wrongValue(message, instead string) error {
	return &strict.ValueError{Message: message, Instead: instead}
}

// ASNumber is the number of an autonomous system, 1 to 4294967294; 0 is absent.
// In files it is a number, or in dotted form such as "1.10" (RFC 5396).
type ASNumber uint32

// asTrans and asLast are reserved (RFC 6793, RFC 7300): nobody can have them.
const (
	asTrans = 23456
	asLast  = 1<<32 - 1
)

// MarshalJSON writes the plain number.
func (a ASNumber) MarshalJSON() ([]byte, error) { return json.Marshal(uint32(a)) }

// UnmarshalJSON reads a number or the dotted form.
func (a *ASNumber) UnmarshalJSON(b []byte) error {
	text := unquote(b)
	if b[0] != '"' && strings.Contains(text, ".") { // 1.10 would have been read as 1.1
		return wrongValue(fmt.Sprintf("%s is a decimal number", text), "write the dotted form in quotes")
	}
	high, low, dotted := strings.Cut(text, ".")
	bits := 16
	if !dotted {
		high, low, bits = "0", text, 32
	}
	h, errHigh := strconv.ParseUint(high, 10, 16)
	l, errLow := strconv.ParseUint(low, 10, bits)
	if errHigh != nil || errLow != nil || strings.HasPrefix(low, "+") {
		return wrongValue(fmt.Sprintf("%q is no AS number", text), "write 1 to 4294967294, or \"high.low\" in quotes")
	}
	switch n := h<<16 | l; n {
	case 0, asTrans, asLast:
		return wrongValue(fmt.Sprintf("the AS number %d is reserved", n), "write a private one, 64512 to 65534 or 4200000000 to 4294967294, or your own")
	default:
		*a = ASNumber(n)
		return nil
	}
}

// Duration is a time span; 0 is absent. In files it is written as "90s" or
// "2m".
type Duration time.Duration

// MarshalJSON writes it as people do.
func (d Duration) MarshalJSON() ([]byte, error) { return json.Marshal(time.Duration(d).String()) }

// UnmarshalJSON reads a positive time span.
func (d *Duration) UnmarshalJSON(b []byte) error {
	text := unquote(b)
	parsed, err := time.ParseDuration(text)
	if err != nil || parsed <= 0 {
		return wrongValue(fmt.Sprintf("%q is no time span", text), "write one such as 90s or 2m")
	}
	*d = Duration(parsed)
	return nil
}
