package master

import (
	"cmp"
	"encoding/binary"
	"log/slog"
	"net"
	"sync"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"

	"github.com/taskwall/taskwall/e2e/sim/clock"
	"github.com/taskwall/taskwall/e2e/sim/group"
	"github.com/taskwall/taskwall/e2e/sim/ids"
)

// Version is the Mesos release that the simulator imitates.
const Version = "1.12.0"

// Config are a master's flags. Zero values are Mesos' defaults.
type Config struct {
	// Host and Port are where the master's HTTP server can be reached.
	Host string
	Port int

	Quorum *Quorum // nil: a cluster of one
	Clock  clock.Clock
	IDs    *ids.Source
	Log    *slog.Logger

	Heartbeat    time.Duration // 15 s, operator and scheduler streams
	PingTimeout  time.Duration // 75 s (5 pings of 15 s): then an agent is unreachable
	Streams      int           // --max_operator_event_stream_subscribers, 1000
	KeepTasks    int           // completed and unreachable tasks per framework, 1000
	KeepFramewks int           // completed frameworks, 50
	// AckRetry is how long the master's agents wait for an acknowledgement
	// before they send an update again: 10 s.
	AckRetry time.Duration

	// Users turn on Basic authentication: name to password.
	Users map[string]string

	// Tamper, when set, decides what each subscriber gets for an event: see
	// Cluster in package sim.
	Tamper Tamper
}

// Master is one Mesos master.
type Master struct {
	cfg  Config
	id   string
	pid  string
	stop chan struct{}

	mu         sync.Mutex
	phase      Phase
	started    time.Time
	agents     map[string]*agent
	frameworks map[string]*framework
	order      []string     // framework ids by registration
	completed  []*framework // oldest first
	subs       []*subscriber
	nextAgent  int
	nextFw     int
	nextOffer  int
	nextSeq    int
	nextSub    int
	mute       bool
	work       group.Group
}

// Phase is how far a master's start has come.
type Phase int

// The phases. Answers while starting: CLUSTER-API 3.1, recorded probes.
const (
	Starting   Phase = iota // HTTP 404 for every path
	Recovering              // 503 on the v1 API
	Ready
	Stopped
)

// New makes a master. It serves nothing until Start.
func New(cfg Config) *Master {
	cfg.Heartbeat = cmp.Or(cfg.Heartbeat, 15*time.Second)
	cfg.PingTimeout = cmp.Or(cfg.PingTimeout, 75*time.Second)
	cfg.Streams = cmp.Or(cfg.Streams, 1000)
	cfg.KeepTasks = cmp.Or(cfg.KeepTasks, 1000)
	cfg.KeepFramewks = cmp.Or(cfg.KeepFramewks, 50)
	cfg.Host = cmp.Or(cfg.Host, "127.0.0.1")
	cfg.Port = cmp.Or(cfg.Port, 5050)
	if cfg.Clock == nil {
		cfg.Clock = clock.Real{}
	}
	if cfg.IDs == nil {
		cfg.IDs = ids.New(1)
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Quorum == nil {
		cfg.Quorum = NewQuorum()
	}
	m := &Master{
		cfg:        cfg,
		id:         cfg.IDs.UUID(),
		stop:       make(chan struct{}),
		agents:     map[string]*agent{},
		frameworks: map[string]*framework{},
		started:    cfg.Clock.Now(),
	}
	m.pid = "master@" + m.address()
	return m
}

func (m *Master) address() string {
	return net.JoinHostPort(m.cfg.Host, itoa(m.cfg.Port))
}

// Start makes the master answer: as leader if the quorum has none, else as
// standby.
func (m *Master) Start() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.phase = Ready
	m.cfg.Quorum.join(m)
}

// SetPhase is for tests of clients that meet a master which is not ready.
func (m *Master) SetPhase(p Phase) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.phase = p
}

// Stop ends the master as a kill does: its streams break, its state is lost,
// the quorum elects another.
func (m *Master) Stop() {
	m.mu.Lock()
	if m.phase == Stopped {
		m.mu.Unlock()
		return
	}
	m.phase = Stopped
	close(m.stop)
	m.mu.Unlock()
	m.cfg.Quorum.leave(m)
	m.work.Close()
}

// ID is the master's id, the beginning of the ids that it gives.
func (m *Master) ID() string { return m.id }

// Leads reports whether this master is the leader.
func (m *Master) Leads() bool { return m.leads() }

func (m *Master) leads() bool { return m.cfg.Quorum.Leader() == m }

func (m *Master) now() time.Time { return m.cfg.Clock.Now() }

// seconds is a timestamp as Mesos prints it: to the microsecond.
func seconds(t time.Time) float64 { return float64(t.UnixMicro()) / 1e6 }

func timeInfo(t time.Time) *mesos.TimeInfo {
	if t.IsZero() {
		return &mesos.TimeInfo{}
	}
	return &mesos.TimeInfo{Nanoseconds: t.UnixNano()}
}

func (m *Master) info() *mesos.MasterInfo {
	var ip uint32
	if v4 := net.ParseIP(m.cfg.Host).To4(); v4 != nil {
		ip = binary.LittleEndian.Uint32(v4) // network order, read on a little-endian machine
	}
	return &mesos.MasterInfo{
		ID: m.id, IP: ip, Port: ptr(uint32(m.cfg.Port)), PID: &m.pid,
		Hostname: &m.cfg.Host, Version: ptr(Version),
		Address: &mesos.Address{Hostname: &m.cfg.Host, IP: &m.cfg.Host, Port: int32(m.cfg.Port)},
		Capabilities: []mesos.MasterInfo_Capability{
			{Type: mesos.MasterInfo_Capability_AGENT_UPDATE},
			{Type: mesos.MasterInfo_Capability_AGENT_DRAINING},
			{Type: 3}, // QUOTA_V2: newer than mesos-go, whose JSON decoder fails on it
		},
	}
}

func ptr[T any](v T) *T { return &v }
