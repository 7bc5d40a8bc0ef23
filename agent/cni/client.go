package cni

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"
)

// Limits of one call, well under Mesos's own minute for an executor to
// register: it sets none on a plugin (CLUSTER-API 5.4).
const (
	callTimeout = 30 * time.Second
	// delTimeout is how long a DEL waits for an agent that is not there. Then it
	// succeeds: Mesos drops the namespace and the interface with it, and the
	// agent sweeps the rest when it is back. Failing would leak the namespace.
	delTimeout = 2 * time.Second
	// absentTimeout is how long the others wait for a socket that is not there,
	// where no agent has run since the host started: that should be said soon.
	absentTimeout = 5 * time.Second
	retry         = 50 * time.Millisecond
)

// Plugin is one run of the plugin: it returns the exit status.
func Plugin(env func(string) string, stdin io.Reader, stdout, stderr io.Writer) int {
	req := request{
		Command:   env("CNI_COMMAND"),
		Container: env("CNI_CONTAINERID"),
		Namespace: env("CNI_NETNS"),
		Iface:     env("CNI_IFNAME"),
	}
	fail := func(code int, msg, details string) int {
		stdout.Write((&Error{Version: defaultVersion, Code: code, Msg: msg, Details: details}).json())
		return 1
	}
	raw, err := io.ReadAll(io.LimitReader(stdin, maxMessage/2))
	if err != nil {
		return fail(CodeDecode, "stdin cannot be read", err.Error())
	}
	var conf struct {
		Socket string `json:"socket"`
	}
	if req.Command == "VERSION" { // answered without an agent
		return version(raw, stdout)
	}
	if err := json.Unmarshal(raw, &conf); err != nil {
		return fail(CodeDecode, "the network configuration on stdin cannot be read", err.Error())
	}
	req.Config = raw
	if conf.Socket == "" {
		conf.Socket = DefaultSocket
	}
	resp, err := call(conf.Socket, req)
	if err != nil {
		if req.Command == "DEL" {
			fmt.Fprintf(stderr, "taskwall-cni: the taskwall agent does not answer (%v): it will clean up when it is back\n", err)
			return 0
		}
		return fail(CodeAgain, "the taskwall agent of this host does not answer on "+conf.Socket+
			": look whether it runs (systemctl status taskwall-agent)", err.Error())
	}
	stdout.Write(resp.Stdout)
	return resp.Exit
}

func version(raw []byte, stdout io.Writer) int {
	v := defaultVersion
	if conf, err := parseConfig(raw); err == nil {
		v = conf.Version
	}
	b, err := json.Marshal(map[string]any{"cniVersion": v, "supportedVersions": versions})
	if err != nil {
		return 1
	}
	stdout.Write(b)
	return 0
}

// call sends a request and waits for the answer. An agent that is just
// restarting is waited for, also when it goes away with the call half done:
// every command is idempotent.
func call(socket string, req request) (response, error) {
	limit := time.Now().Add(callTimeout)
	agent, file := time.Now(), time.Now() // when the agent was last there, and its socket
	for {
		resp, err := once(socket, req, limit, &agent)
		if err == nil {
			return resp, nil
		}
		now, absent := time.Now(), errors.Is(err, os.ErrNotExist)
		if !absent {
			file = now
		}
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded), now.After(limit),
			req.Command == "DEL" && now.Sub(agent) > delTimeout,
			absent && now.Sub(file) > absentTimeout:
			return response{}, err
		}
		time.Sleep(retry)
	}
}

// once asks an agent, and says until when one was there.
func once(socket string, req request, limit time.Time, there *time.Time) (resp response, err error) {
	c, err := net.DialTimeout("unix", socket, time.Until(limit))
	if err != nil {
		return resp, err
	}
	defer func() { *there = time.Now() }()
	defer c.Close()
	if err := c.SetDeadline(limit); err != nil {
		return resp, err
	}
	if err := json.NewEncoder(c).Encode(req); err != nil {
		return resp, err
	}
	return resp, read(c, &resp)
}
