package marathon

import (
	"bytes"
	"cmp"
	"io"
	"net/http"
	"slices"
	"time"
)

// Member is one Marathon process: an HTTP server, leading or not.
type Member struct {
	m    *Marathon
	addr string // host:port, as others reach it
	up   bool
	api  http.Handler
	// Dial, when set, is how this member reaches the leader that it proxies to.
	client *http.Client
}

// AddMember adds a process that can be reached at addr (host:port). The first
// one leads.
func (m *Marathon) AddMember(addr string, client *http.Client) *Member {
	m.mu.Lock()
	defer m.mu.Unlock()
	b := &Member{m: m, addr: addr, up: true, client: client}
	if b.client == nil {
		b.client = &http.Client{Timeout: 10 * time.Second}
	}
	b.api = m.routes()
	m.members = append(m.members, b)
	if m.leader == nil {
		m.elect(b)
	}
	return b
}

func (b *Member) url() string { return b.m.cfg.Scheme + "://" + b.addr }

// elect makes a member lead, nil for nobody.
func (m *Marathon) elect(b *Member) {
	m.leader = b
	m.readyFrom = m.cfg.Clock.Now().Add(m.cfg.NotReadyFor)
	close(m.led)
	m.led = make(chan struct{})
	m.events.poke()
}

// abdicate ends a leadership: its streams break, and the next member leads
// (the same one, restarted, when it is alone). The lock is held.
func (m *Marathon) abdicate() {
	m.bus.cutAll()
	if len(m.members) == 0 {
		return
	}
	next := m.members[0]
	if n := slices.Index(m.members, m.leader); n >= 0 {
		next = m.members[(n+1)%len(m.members)]
	}
	m.elect(next)
}

// ChangeLeader makes the next member lead, as DELETE /v2/leader does.
func (m *Marathon) ChangeLeader() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.abdicate()
}

// SetLeaderless takes the leader away, or elects the first member again.
func (m *Marathon) SetLeaderless(on bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if on {
		m.bus.cutAll()
		m.elect(nil)
		return
	}
	if len(m.members) > 0 {
		m.elect(m.members[0])
	}
}

// Leads reports whether the member is the leader.
func (b *Member) Leads() bool {
	b.m.mu.Lock()
	defer b.m.mu.Unlock()
	return b.m.leader == b
}

// ServeHTTP is the member's HTTP server (CLUSTER-API 1.2).
func (b *Member) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !b.m.authenticate(w, r) {
		return
	}
	if b.m.overloaded.Load() {
		http.Error(w, "Too many concurrent requests!", http.StatusServiceUnavailable)
		return
	}
	leader := b.m.awaitLeader(r)
	if leader == nil {
		fail(w, http.StatusBadGateway, "Could not determine the current leader")
		return
	}
	if leader == b {
		w.Header().Set("X-Marathon-Leader", b.url())
		b.api.ServeHTTP(w, r)
		return
	}
	if r.URL.Path == "/v2/events" {
		target := leader.url() + "/v2/events"
		if r.URL.RawQuery != "" {
			target += "?" + r.URL.RawQuery
		}
		w.Header().Set("Location", target)
		w.Header().Set("Content-Length", "0")
		w.WriteHeader(http.StatusFound)
		return
	}
	b.proxy(w, r, leader)
}

// awaitLeader holds a request while there is no leader: 10 times 250 ms.
func (m *Marathon) awaitLeader(r *http.Request) *Member {
	for range 10 {
		m.mu.Lock()
		leader, led := m.leader, m.led
		m.mu.Unlock()
		if leader != nil {
			return leader
		}
		fired, stop := m.cfg.Clock.After(250 * time.Millisecond)
		select {
		case <-fired:
		case <-led:
		case <-r.Context().Done():
		}
		stop()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.leader
}

func (m *Marathon) authenticate(w http.ResponseWriter, r *http.Request) bool {
	if len(m.cfg.Users) == 0 {
		return true
	}
	user, password, ok := r.BasicAuth()
	if want, known := m.cfg.Users[user]; ok && known && want == password {
		return true
	}
	w.Header().Set("WWW-Authenticate", `Basic realm="Mesosphere"`)
	w.WriteHeader(http.StatusUnauthorized)
	return false
}

// proxy passes a request on to the leader.
func (b *Member) proxy(w http.ResponseWriter, r *http.Request, leader *Member) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody))
	if err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	req, err := http.NewRequestWithContext(r.Context(), r.Method, leader.url()+r.URL.RequestURI(), bytes.NewReader(body))
	if err != nil {
		fail(w, http.StatusBadGateway, err.Error())
		return
	}
	req.Header = r.Header.Clone()
	req.Header.Set("Via", "1.1 "+b.addr)
	resp, err := b.client.Do(req)
	if err != nil {
		fail(w, http.StatusBadGateway, "Connection refused")
		return
	}
	defer resp.Body.Close()
	for k, v := range resp.Header {
		w.Header()[k] = v
	}
	w.Header().Set("Via", cmp.Or(resp.Header.Get("Via"), "1.1 "+b.addr))
	w.WriteHeader(resp.StatusCode)
	_, _ = io.Copy(w, resp.Body)
}
