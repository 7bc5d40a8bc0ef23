package cni

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"

	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"
)

// Result is what an ADD gave the task.
type Result struct {
	Address   netip.Addr
	Gateway   netip.Addr
	Iface     string // in the task's namespace
	Namespace string
	Veth      string // on the host
}

// render prints a result in a version's form.
func (r Result) render(version string, dns json.RawMessage) ([]byte, error) {
	task := 1
	full := &types100.Result{
		CNIVersion: types100.ImplementedSpecVersion,
		Interfaces: []*types100.Interface{
			{Name: r.Veth},
			{Name: r.Iface, Sandbox: r.Namespace},
		},
		IPs: []*types100.IPConfig{{
			Interface: &task,
			Address:   net.IPNet{IP: r.Address.AsSlice(), Mask: net.CIDRMask(32, 32)},
			Gateway:   r.Gateway.AsSlice(),
		}},
		Routes: []*types.Route{{
			Dst: net.IPNet{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)},
			GW:  r.Gateway.AsSlice(),
		}},
	}
	if len(dns) > 0 { // an operator's: handed through, as Mesos reads it from the result
		if err := json.Unmarshal(dns, &full.DNS); err != nil {
			return nil, &Error{Code: CodeConfig, Msg: "the network configuration's dns cannot be read", Details: err.Error()}
		}
	}
	old, err := full.GetAsVersion(version)
	if err != nil {
		return nil, fmt.Errorf("writing the result as CNI %s: %w", version, err)
	}
	var b bytes.Buffer
	if err := old.PrintTo(&b); err != nil {
		return nil, fmt.Errorf("writing the result as CNI %s: %w", version, err)
	}
	return b.Bytes(), nil
}
