package bus

import (
	"fmt"
	"strings"
)

// The subjects and streams. <host> is the host's name as Token writes it.
//
//	taskwall.events          the log of events, in stream EVENTS
//	taskwall.checkpoints     signed checkpoints of the log, in stream CHECKPOINTS
//	taskwall.snapshots.<seq> snapshots of the fold, in stream SNAPSHOTS
//	WORK.<host>              work items, in stream WORK
//	WORKFENCE                claims of the writers of work items, in stream WORK
//	taskwall.work.<host>     work items as the server republishes them, with the
//	                         headers Nats-Sequence and Nats-Last-Sequence
//	taskwall.catchup.<host>  requests for a host's stored work items
//	REPORTS.<host>           reports of hosts, in stream REPORTS
//	taskwall.alive.<host>    signs of life of agents, kept nowhere
//	taskwall.positions.<name> how far a follower has come, in stream POSITIONS
//	taskwall.api.<request>   requests of people to the leading controller
const (
	EventsStream      = "EVENTS"
	CheckpointsStream = "CHECKPOINTS"
	SnapshotsStream   = "SNAPSHOTS"
	WorkStream        = "WORK"
	ReportsStream     = "REPORTS"
	PositionsStream   = "POSITIONS"

	EventsSubject      = "taskwall.events"
	CheckpointsSubject = "taskwall.checkpoints"
	FenceSubject       = "WORKFENCE"

	snapshotsPrefix = "taskwall.snapshots."
	workPrefix      = "WORK."
	livePrefix      = "taskwall.work."
	catchupPrefix   = "taskwall.catchup."
	reportsPrefix   = "REPORTS."
	alivePrefix     = "taskwall.alive."
	positionsPrefix = "taskwall.positions."

	// StatusRequest and the others ask the leading controller; package
	// scheduler/controller says what is asked and answered.
	StatusRequest      = apiRequests + "status"
	PolicyGetRequest   = apiRequests + "policy.get"
	PolicyApplyRequest = apiRequests + "policy.apply"
	SessionsRequest    = apiRequests + "sessions"
	RoutesRequest      = apiRequests + "routes"
	DrainRequest       = apiRequests + "host.drain"

	apiRequests = "taskwall.api."

	// AllCatchups and the others are the wildcards of their subjects.
	AllCatchups = catchupPrefix + "*"
	AllAlive    = alivePrefix + "*"
	AllWork     = workPrefix + "*"
)

// EpochHeader carries the epoch (see package lease) of the writer of a record
// or work item, in decimal.
const EpochHeader = "Taskwall-Epoch"

// WorkSubject is where a host's work items are stored.
func WorkSubject(host string) string { return workPrefix + Token(host) }

// LiveSubject is where the server republishes a host's work items.
func LiveSubject(host string) string { return livePrefix + Token(host) }

// CatchupSubject is where a host asks for stored work items.
func CatchupSubject(host string) string { return catchupPrefix + Token(host) }

// AliveSubject is where a host's agent says that it lives.
func AliveSubject(host string) string { return alivePrefix + Token(host) }

// ReportsSubject is where a host reports.
func ReportsSubject(host string) string { return string(AppendReportsSubject(nil, host)) }

// AppendReportsSubject appends ReportsSubject.
func AppendReportsSubject(b []byte, host string) []byte {
	return appendToken(append(b, reportsPrefix...), host)
}

// SnapshotSubject is where the snapshot of the fold at a log sequence is kept.
func SnapshotSubject(seq uint64) string { return fmt.Sprintf("%s%d", snapshotsPrefix, seq) }

// PositionSubject is where a follower keeps how far it has come.
func PositionSubject(follower string) string { return positionsPrefix + Token(follower) }

// HostOf is the host of a subject that one of the functions above made.
func HostOf(subject string) (string, error) {
	for _, prefix := range []string{workPrefix, livePrefix, catchupPrefix, reportsPrefix, alivePrefix} {
		if token, ok := strings.CutPrefix(subject, prefix); ok {
			return HostName(token)
		}
	}
	return "", fmt.Errorf("subject %q names no host", subject)
}

const hexDigits = "0123456789abcdef"

// Token writes a host name as one token of a subject: ASCII letters, digits
// and "-" stay as they are, every other byte becomes "_" and two hex digits.
// Different names have different tokens.
func Token(host string) string { return string(appendToken(nil, host)) }

func appendToken(b []byte, host string) []byte {
	for i := range len(host) {
		if c := host[i]; plain(c) {
			b = append(b, c)
		} else {
			b = append(b, '_', hexDigits[c>>4], hexDigits[c&15])
		}
	}
	return b
}

// HostName is the inverse of Token. It refuses what Token never writes, so
// that a host has one subject only.
func HostName(token string) (string, error) {
	if token == "" {
		return "", fmt.Errorf("empty host token")
	}
	var b strings.Builder
	for i := 0; i < len(token); i++ {
		c := token[i]
		switch {
		case plain(c):
			b.WriteByte(c)
		case c == '_' && i+2 < len(token):
			hi, lo := strings.IndexByte(hexDigits, token[i+1]), strings.IndexByte(hexDigits, token[i+2])
			if hi < 0 || lo < 0 || plain(byte(hi<<4|lo)) {
				return "", fmt.Errorf("host token %q: bad escape at %d", token, i)
			}
			b.WriteByte(byte(hi<<4 | lo))
			i += 2
		default:
			return "", fmt.Errorf("host token %q: bad byte at %d", token, i)
		}
	}
	return b.String(), nil
}

func plain(c byte) bool {
	return c == '-' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}
