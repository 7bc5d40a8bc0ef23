package cni

import (
	"encoding/json"
	"slices"
	"strings"
)

// versions are the CNI versions that we speak, oldest first.
var versions = []string{"0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"}

// defaultVersion is for a configuration that names none, as Mesos allows: it
// reads addresses only in this form (CLUSTER-API 5.3).
const defaultVersion = "0.2.0"

// config is what we read of a network configuration. Mesos adds "args".
type config struct {
	Version string `json:"cniVersion"`
	Name    string `json:"name"`
	Valid   []struct {
		Container string `json:"containerID"`
		Iface     string `json:"ifname"`
	} `json:"cni.dev/valid-attachments"`
	DNS json.RawMessage `json:"dns"`
}

func parseConfig(b []byte) (config, error) {
	var c config
	if err := json.Unmarshal(b, &c); err != nil {
		return config{Version: defaultVersion}, &Error{Code: CodeDecode, Msg: "the network configuration on stdin cannot be read", Details: err.Error()}
	}
	if c.Version == "" {
		c.Version = defaultVersion
	}
	if !slices.Contains(versions, c.Version) {
		asked := c.Version
		c.Version = versions[len(versions)-1]
		return c, &Error{Code: CodeVersion, Msg: "the network configuration's cniVersion is not supported",
			Details: "it is " + asked + "; use one of " + strings.Join(versions, ", ") + " (Mesos needs 0.2.0)"}
	}
	return c, nil
}
