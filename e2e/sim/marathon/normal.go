package marathon

import (
	"maps"
	"slices"
)

// normalise brings an app as a client wrote it into the form that Marathon
// stores and returns: defaults filled in, and the ways of older API versions
// (ipAddress, ports, uris, docker.network) translated; they are never returned
// (CLUSTER-API 2.2).
func (m *Marathon) normalise(in object, group string) object {
	app := withoutNulls(in)
	if id, ok := app["id"].(string); ok {
		app["id"] = absolute(id, group)
	}
	for _, computed := range []string{"version", "versionInfo", "tasks", "tasksStaged", "tasksRunning", "tasksHealthy",
		"tasksUnhealthy", "deployments", "lastTaskFailure", "taskStats", "readinessCheckResults"} {
		delete(app, computed)
	}
	m.legacyNetworks(app)
	legacyPorts(app)
	if uris, ok := app["uris"].([]any); ok {
		fetch := list(app["fetch"])
		for _, u := range uris {
			fetch = append(fetch, object{"uri": u, "extract": true, "executable": false, "cache": false})
		}
		app["fetch"] = fetch
	}
	delete(app, "uris")
	defaults(app, object{
		"instances": 1.0, "cpus": 1.0, "mem": 128.0, "disk": 0.0, "gpus": 0.0, "executor": "",
		"backoffFactor": 1.15, "backoffSeconds": 1.0, "maxLaunchDelaySeconds": 300.0,
		"constraints": []any{}, "dependencies": []any{}, "env": object{}, "fetch": []any{},
		"healthChecks": []any{}, "labels": object{}, "requirePorts": false, "killSelection": "YOUNGEST_FIRST",
		"networks":            []any{object{"mode": "host"}},
		"upgradeStrategy":     object{},
		"unreachableStrategy": object{"inactiveAfterSeconds": 0.0, "expungeAfterSeconds": 0.0},
	})
	if up, ok := app["upgradeStrategy"].(object); ok {
		up = maps.Clone(up)
		defaults(up, object{"minimumHealthCapacity": 1.0, "maximumOverCapacity": 1.0})
		app["upgradeStrategy"] = up
	}
	m.nameNetworks(app)
	if isHost(app) {
		defaults(app, object{"portDefinitions": []any{object{"port": 0.0, "protocol": "tcp", "name": "default"}}})
	} else {
		delete(app, "portDefinitions")
		if c, ok := app["container"].(object); !ok {
			app["container"] = object{"type": "MESOS", "volumes": []any{}, "portMappings": []any{}}
		} else {
			c = maps.Clone(c)
			defaults(c, object{"type": "MESOS", "volumes": []any{}, "portMappings": []any{}})
			app["container"] = c
		}
	}
	return app
}

// nameNetworks gives nameless container networks their default, and none to
// host and bridge.
func (m *Marathon) nameNetworks(spec object) {
	var out []any
	for _, v := range list(spec["networks"]) {
		n, ok := v.(object)
		if !ok {
			continue
		}
		n = maps.Clone(n)
		defaults(n, object{"mode": "container"})
		if n["mode"] == "container" {
			defaults(n, object{"name": m.cfg.DefaultNetwork, "labels": object{}})
		}
		out = append(out, n)
	}
	spec["networks"] = out
}

func (m *Marathon) legacyNetworks(app object) {
	container, _ := app["container"].(object)
	docker, _ := container["docker"].(object)
	ip, _ := app["ipAddress"].(object)
	delete(app, "ipAddress")
	kind, _ := docker["network"].(string)
	switch {
	case ip != nil:
		n := object{"mode": "container", "labels": object{}}
		if name, ok := ip["networkName"].(string); ok && name != "" {
			n["name"] = name
		}
		if labels, ok := ip["labels"].(object); ok {
			n["labels"] = labels
		}
		app["networks"] = []any{n}
		if discovery, ok := ip["discovery"].(object); ok {
			container = cloneOr(container, object{"type": "MESOS", "volumes": []any{}})
			var mappings []any
			for _, v := range list(discovery["ports"]) {
				if p, ok := v.(object); ok {
					mappings = append(mappings, object{"containerPort": p["number"], "protocol": p["protocol"], "name": p["name"], "labels": object{}})
				}
			}
			if len(mappings) > 0 {
				container["portMappings"] = mappings
			}
		}
	case kind == "BRIDGE":
		app["networks"] = []any{object{"mode": "container/bridge"}}
	case kind == "USER":
		app["networks"] = []any{object{"mode": "container"}}
	case kind == "HOST":
		app["networks"] = []any{object{"mode": "host"}}
	}
	if docker != nil {
		docker = maps.Clone(docker)
		delete(docker, "network")
		container = maps.Clone(container)
		if pm, ok := docker["portMappings"]; ok {
			container["portMappings"] = pm
			delete(docker, "portMappings")
		}
		container["docker"] = docker
	}
	if container != nil {
		app["container"] = container
	}
}

func legacyPorts(app object) {
	ports, ok := app["ports"].([]any)
	delete(app, "ports")
	if !ok || len(ports) == 0 || app["portDefinitions"] != nil {
		return
	}
	var defs []any
	for _, p := range ports {
		defs = append(defs, object{"port": p, "protocol": "tcp"})
	}
	app["portDefinitions"] = defs
}

func isHost(app object) bool {
	networks := list(app["networks"])
	return len(networks) == 0 || slices.ContainsFunc(networks, func(v any) bool {
		n, _ := v.(object)
		return n["mode"] == "host"
	})
}

// normalisePod fills in a pod's defaults.
func (m *Marathon) normalisePod(in object) object {
	pod := withoutNulls(in)
	if id, ok := pod["id"].(string); ok {
		pod["id"] = absolute(id, "/")
	}
	delete(pod, "version")
	defaults(pod, object{
		"labels": object{}, "environment": object{}, "networks": []any{object{"mode": "host"}}, "volumes": []any{},
		"scaling":           object{"kind": "fixed", "instances": 1.0},
		"executorResources": object{"cpus": 0.1, "mem": 32.0, "disk": 10.0},
	})
	m.nameNetworks(pod)
	return pod
}

func withoutNulls(in object) object {
	out := object{}
	for k, v := range in {
		if v != nil {
			out[k] = v
		}
	}
	return out
}

func defaults(o, d object) {
	for k, v := range d {
		if o[k] == nil {
			o[k] = v
		}
	}
}

func cloneOr(o, def object) object {
	if o == nil {
		return def
	}
	return maps.Clone(o)
}

func list(v any) []any {
	l, _ := v.([]any)
	return l
}
