package mesosagent

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	mesos "github.com/mesos/mesos-go/api/v1/lib"

	"github.com/taskwall/taskwall/e2e/netns"
	"github.com/taskwall/taskwall/e2e/sim/wire"
)

// attachment is one network of a container.
type attachment struct {
	name     string
	ifname   string
	info     mesos.NetworkInfo
	ip4, ip6 string // ip6 with its prefix, as Mesos reports it
}

// attachments are the networks that a container asks for by name: eth0, eth1, …
// in the order of asking (CLUSTER-API 5.1).
func attachments(info *mesos.ContainerInfo) ([]attachment, error) {
	var out []attachment
	for _, n := range info.GetNetworkInfos() {
		if n.GetName() == "" {
			continue
		}
		if slices.ContainsFunc(out, func(o attachment) bool { return o.name == n.GetName() }) {
			return nil, fmt.Errorf("Attempted to join CNI network '%s' multiple times", n.GetName()) //nolint:staticcheck // Mesos' own words
		}
		out = append(out, attachment{name: n.GetName(), ifname: fmt.Sprintf("eth%d", len(out)), info: n})
	}
	return out, nil
}

// inHashOrder stands for the order of a C++ hash map: not the order of asking.
func inHashOrder(list []attachment) []attachment {
	hash := func(s string) uint32 {
		h := fnv.New32a()
		h.Write([]byte(s))
		return h.Sum32()
	}
	out := slices.Clone(list)
	slices.SortStableFunc(out, func(x, y attachment) int {
		hx, hy := hash(x.name), hash(y.name)
		switch {
		case hx < hy:
			return -1
		case hx > hy:
			return 1
		}
		return 0
	})
	return out
}

// networkConfig finds a network's configuration: every regular file of the
// directory counts, read at each launch; files that are no single-network
// configuration are skipped.
func (a *Agent) networkConfig(name string) (map[string]any, error) {
	entries, err := os.ReadDir(a.cfg.CNIConf)
	if err != nil {
		a.cfg.Log.Warn("reading network configurations", "host", a.cfg.Hostname, "err", err)
	}
	for _, e := range entries {
		raw, err := os.ReadFile(filepath.Join(a.cfg.CNIConf, e.Name()))
		if err != nil {
			continue
		}
		d := json.NewDecoder(bytes.NewReader(raw))
		d.UseNumber()
		var conf map[string]any
		if d.Decode(&conf) != nil || conf["name"] != name {
			continue
		}
		kind, _ := conf["type"].(string)
		if kind == "" || a.plugin(kind) == "" {
			continue
		}
		return conf, nil
	}
	return nil, fmt.Errorf("Unknown CNI network '%s'", name) //nolint:staticcheck // Mesos' own words
}

// plugin is the path of a plugin's binary, "" if there is none.
func (a *Agent) plugin(kind string) string {
	for _, dir := range filepath.SplitList(a.cfg.CNIPlugins) {
		path := filepath.Join(dir, kind)
		if st, err := os.Stat(path); err == nil && st.Mode().IsRegular() {
			return path
		}
	}
	return ""
}

// stdin is what the plugin reads: the operator's JSON with Mesos' args added,
// keys sorted, slashes escaped (CLUSTER-API 5.2).
func stdin(conf map[string]any, info mesos.NetworkInfo) ([]byte, error) {
	var asked any
	if err := json.Unmarshal(wire.JSON(&info), &asked); err != nil {
		return nil, fmt.Errorf("network info: %w", err)
	}
	args, _ := conf["args"].(map[string]any)
	if args == nil {
		args = map[string]any{}
	}
	if _, taken := args["org.apache.mesos"]; taken {
		return nil, errors.New("'org.apache.mesos' is reserved in args")
	}
	args["org.apache.mesos"] = map[string]any{"network_info": asked}
	conf["args"] = args
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(conf); err != nil { // sorts keys
		return nil, fmt.Errorf("network configuration: %w", err)
	}
	return bytes.ReplaceAll(bytes.TrimSuffix(b.Bytes(), []byte("\n")), []byte("/"), []byte(`\/`)), nil
}

func (a *Agent) cniDir(c *container) string { return filepath.Join(a.cniRoot(), c.fullID()) }

// attach runs ADD for all networks of a container at once. The error is the
// text that Mesos puts into the status message.
func (a *Agent) attach(c *container) error {
	dir := a.cniDir(c)
	for _, n := range c.networks { // checkpoint, then run
		conf, err := a.networkConfig(n.name)
		if err != nil {
			return err
		}
		in, err := stdin(conf, n.info)
		if err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Join(dir, n.name, n.ifname), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, n.name, "network.conf"), in, 0o644); err != nil {
			return err
		}
	}
	results := make([]cniResult, len(c.networks))
	errs := make([]error, len(c.networks))
	var wg sync.WaitGroup
	for i, n := range c.networks {
		wg.Go(func() { results[i], errs[i] = a.add(c.fullID(), dir, n) })
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return fmt.Errorf("Collect failed: %w", err) //nolint:staticcheck // Mesos' own words
		}
	}
	a.mu.Lock()
	for i, r := range results {
		c.networks[i].ip4, c.networks[i].ip6 = r.ip4, r.ip6
	}
	a.mu.Unlock()
	return a.writeHosts(c, dir)
}

// cniResult is what Mesos takes from a plugin's answer: the fields of CNI 0.2.0.
// A newer result has none of them, which is no error.
type cniResult struct{ ip4, ip6 string }

func (a *Agent) add(id, dir string, n attachment) (cniResult, error) {
	out, errOut, err := a.runPlugin("ADD", id, dir, n.name, n.ifname)
	if err != nil {
		return cniResult{}, fmt.Errorf("The CNI plugin '%s' failed to attach container %s to CNI network '%s': stdout='%s', stderr='%s'", //nolint:staticcheck // Mesos' own words
			a.pluginOf(dir, n.name), id, n.name, out, errOut)
	}
	var result struct {
		IP4, IP6 *struct {
			IP string `json:"ip"`
		}
	}
	if err := json.Unmarshal(out, &result); err != nil {
		return cniResult{}, fmt.Errorf("Failed to parse the output of the CNI plugin '%s': %w", a.pluginOf(dir, n.name), err) //nolint:staticcheck // Mesos' own words
	}
	if err := os.WriteFile(filepath.Join(dir, n.name, n.ifname, "network.info"), out, 0o644); err != nil {
		return cniResult{}, err
	}
	var r cniResult
	if result.IP4 != nil {
		ip, _, err := net.ParseCIDR(result.IP4.IP)
		if err != nil {
			return cniResult{}, fmt.Errorf("Failed to parse the IPv4 address of CNI network '%s': %w", n.name, err) //nolint:staticcheck // Mesos' own words
		}
		r.ip4 = ip.String()
	}
	if result.IP6 != nil {
		r.ip6 = result.IP6.IP
	}
	return r, nil
}

// pluginOf is the path of the plugin that a checkpointed configuration names.
func (a *Agent) pluginOf(dir, network string) string {
	raw, err := os.ReadFile(filepath.Join(dir, network, "network.conf"))
	var conf struct{ Type string }
	if err != nil || json.Unmarshal(raw, &conf) != nil {
		return ""
	}
	return a.plugin(conf.Type)
}

// runPlugin runs a plugin in the host's namespace with exactly the environment
// that Mesos gives. There is no timeout: a plugin that hangs hangs its task.
func (a *Agent) runPlugin(command, id, dir, network, ifname string) (stdout, stderr []byte, err error) {
	in, err := os.ReadFile(filepath.Join(dir, network, "network.conf"))
	if err != nil {
		return nil, nil, err
	}
	plugin := a.pluginOf(dir, network)
	if plugin == "" {
		return nil, nil, fmt.Errorf("no plugin for network %s", network)
	}
	env := []string{
		"CNI_COMMAND=" + command,
		"CNI_CONTAINERID=" + id,
		"CNI_IFNAME=" + ifname,
	}
	ns := filepath.Join(dir, "ns")
	if command == "ADD" || isNamespace(ns) { // after a reboot the handle is a plain file
		env = append(env, "CNI_NETNS="+ns)
	}
	env = append(env, "CNI_PATH="+a.cfg.CNIPlugins, "PATH="+os.Getenv("PATH"))
	var out, errOut bytes.Buffer
	cmd := exec.Command(plugin)
	cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = env, bytes.NewReader(in), &out, &errOut
	if err := netns.Start(a.cfg.NS, cmd); err != nil {
		return nil, nil, fmt.Errorf("start plugin %s: %w", plugin, err)
	}
	err = cmd.Wait()
	return out.Bytes(), errOut.Bytes(), err
}

// writeHosts leaves the files that Mesos mounts into the container.
func (a *Agent) writeHosts(c *container, dir string) error {
	var ip string
	for _, n := range c.networks {
		if n.ip4 != "" && ip == "" {
			ip = n.ip4
		}
	}
	hosts := "127.0.0.1 localhost\n"
	if ip != "" {
		hosts += ip + " " + c.id + "\n"
	}
	for name, body := range map[string]string{"hosts": hosts, "hostname": c.id + "\n", "resolv.conf": ""} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(body), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// detach runs DEL for each network that was checkpointed, all at once, and then
// removes the state directory. When a DEL fails everything stays until the
// agent starts again (CLUSTER-API 5.4).
func (a *Agent) detach(id, dir string) error {
	confs, err := filepath.Glob(filepath.Join(dir, "*", "network.conf"))
	if err != nil {
		return err
	}
	errs := make([]error, len(confs))
	var wg sync.WaitGroup
	for i, conf := range confs {
		network := filepath.Dir(conf)
		wg.Go(func() {
			ifname := "eth0"
			if dirs, _ := filepath.Glob(filepath.Join(network, "eth*")); len(dirs) > 0 {
				ifname = filepath.Base(dirs[0])
			}
			out, errOut, err := a.runPlugin("DEL", id, dir, filepath.Base(network), ifname)
			if err != nil {
				errs[i] = fmt.Errorf("The CNI plugin '%s' failed to detach container %s from CNI network '%s': stdout='%s', stderr='%s'", //nolint:staticcheck // Mesos' own words
					a.pluginOf(dir, filepath.Base(network)), id, filepath.Base(network), out, errOut)
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return dropState(dir)
}

// cleanOrphans retries DEL for state directories that belong to no container.
func (a *Agent) cleanOrphans() {
	entries, _ := os.ReadDir(a.cniRoot())
	a.mu.Lock()
	var orphans []string
	for _, e := range entries {
		if c := a.containers[e.Name()]; c == nil {
			orphans = append(orphans, e.Name())
		}
	}
	a.mu.Unlock()
	slices.SortFunc(orphans, func(x, y string) int { return strings.Count(y, ".") - strings.Count(x, ".") })
	var wg sync.WaitGroup
	for _, id := range orphans {
		wg.Go(func() {
			if err := a.detach(id, filepath.Join(a.cniRoot(), id)); err != nil {
				a.cfg.Log.Warn("orphan's network stays", "host", a.cfg.Hostname, "container", id, "err", err)
			}
		})
	}
	wg.Wait()
}

// Attachments lists the container ids that have network state on disk: live
// containers and those whose DEL failed.
func (a *Agent) Attachments() []string {
	entries, _ := os.ReadDir(a.cniRoot())
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}
