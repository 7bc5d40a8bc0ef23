package bgp

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"time"

	"github.com/osrg/gobgp/v4/api"
	"github.com/taskwall/taskwall/events/work"
)

// Defaults of a peer, and what the engine is asked to do besides.
const (
	defaultHoldTime    = 90 * time.Second
	defaultRestartTime = 120 * time.Second
	defaultMaxPrefixes = 20_000
	// deferral is how long a restarting speaker waits for End-of-RIB of all
	// peers before it announces to those that are there (RFC 4724, 4.1). All
	// that a host announces is its own, so little is gained by more.
	deferral = 5
	// retry is the time between two attempts to connect.
	retry = 5
)

// neighbor writes a peer down for the engine.
func neighbor(b *work.BGP, p work.BGPPeer, password string, restarting bool) *api.Peer {
	seconds := func(d, def time.Duration) uint64 {
		if d <= 0 {
			d = def
		}
		return uint64(d.Round(time.Second) / time.Second)
	}
	hold := max(seconds(p.HoldTime, defaultHoldTime), 3) // RFC 4271, 4.2
	keepalive := max(min(seconds(p.Keepalive, time.Duration(hold)*time.Second/3), hold/3), 1)
	source := p.Source
	if !source.IsValid() {
		source = b.RouterID
	}
	most := p.MaxPrefixes
	if most == 0 {
		most = defaultMaxPrefixes
	}
	family := &api.Family{Afi: api.Family_AFI_IP, Safi: api.Family_SAFI_UNICAST}
	n := &api.Peer{
		Conf: &api.PeerConf{NeighborAddress: p.Address.String(), PeerAsn: p.ASN, LocalAsn: b.ASN, AuthPassword: password,
			AllowOwnAsn: math.MaxUint8}, // loops are for the policies to refuse (doc.go)
		Timers: &api.Timers{Config: &api.TimersConfig{
			HoldTime: hold, KeepaliveInterval: keepalive, ConnectRetry: retry, IdleHoldTimeAfterReset: retry,
		}},
		Transport: &api.Transport{LocalAddress: source.String(), RemotePort: uint32(p.Port)},
		GracefulRestart: &api.GracefulRestart{
			Enabled: true, RestartTime: uint32(min(seconds(p.RestartTime, defaultRestartTime), 4095)), // 12 bits
			DeferralTime: deferral, LocalRestarting: restarting,
		},
		AfiSafis: []*api.AfiSafi{{
			Config:            &api.AfiSafiConfig{Family: family, Enabled: true},
			MpGracefulRestart: &api.MpGracefulRestart{Config: &api.MpGracefulRestartConfig{Enabled: true}},
			PrefixLimits:      &api.PrefixLimit{Family: family, MaxPrefixes: most},
		}},
	}
	switch {
	case p.TTLSecurity > 0:
		// From one hop away a packet arrives with the 255 that it was sent with.
		n.TtlSecurity = &api.TtlSecurity{Enabled: true, TtlMin: 256 - uint32(p.TTLSecurity)}
	case p.Multihop > 0 && p.ASN != b.ASN:
		n.EbgpMultihop = &api.EbgpMultihop{Enabled: true, MultihopTtl: uint32(p.Multihop)}
	}
	if p.ClusterID.IsValid() {
		n.RouteReflector = &api.RouteReflector{RouteReflectorClient: true, RouteReflectorClusterId: p.ClusterID.String()}
	}
	return n
}

// sameSession says whether going from one to the other needs no new session:
// only what policies do, or a limit, differs.
func sameSession(a, b work.BGPPeer) bool {
	for _, p := range []*work.BGPPeer{&a, &b} {
		p.Name, p.Import, p.Export, p.LocalPref, p.KeepNextHop, p.MaxPrefixes = "", nil, nil, 0, false, 0
	}
	return reflect.DeepEqual(a, b)
}

// errSecret means that a peer's password cannot be read; its session is not
// started then.
var errSecret = errors.New("the password cannot be read")

// maxSecret is the longest key that TCP MD5 takes (TCP_MD5SIG_MAXKEYLEN).
const maxSecret = 80

// secret reads a password's file. The name is one file in the directory: it
// comes from the controller, which must not read the host's disk.
func secret(dir, name string) (string, error) {
	switch {
	case name == "":
		return "", nil
	case dir == "":
		return "", fmt.Errorf("%w: no directory for %q was given (--bgp-secrets)", errSecret, name)
	case !filepath.IsLocal(name) || filepath.Base(name) != name:
		return "", fmt.Errorf("%w: %q is not the name of a file", errSecret, name)
	}
	f, err := os.Open(filepath.Join(dir, name))
	if err != nil {
		return "", fmt.Errorf("%w: %w", errSecret, err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxSecret+3))
	if err != nil {
		return "", fmt.Errorf("%w: %w", errSecret, err)
	}
	password := strings.TrimRight(string(text), "\r\n")
	if password == "" || len(password) > maxSecret {
		return "", fmt.Errorf("%w: %q holds %s", errSecret, name, map[bool]string{true: "nothing", false: fmt.Sprintf("more than %d characters", maxSecret)}[password == ""])
	}
	return password, nil
}
