// Package sim is a small Mesos cluster with Marathon, on which everything is
// tested and shown: a master, an agent per host and Marathon, which speak to
// the outside as the real ones do (CLUSTER-API; recorded traffic of Mesos
// 1.12 is replayed against them in their tests).
//
//	control host (or loopback)          host namespaces on a bridge (package netns)
//	┌───────────────────────┐           ┌──────────────┐ ┌──────────────┐
//	│ master   :5050        │◀──────────│ agent :5051  │ │ agent :5051  │
//	│  /api/v1 (JSON, pb)   │ in-process│  CNI plugin  │ │              │
//	│ Marathon :8080        │           │  sh -c task  │ │   tasks      │
//	└───────────────────────┘           └──────────────┘ └──────────────┘
//
// With a fabric, agents live in namespaces, run the CNI plugin and start real
// processes:
//
//	f, err := netns.New("tw1")                      // namespaces tw1-fabric, tw1-<host>
//	defer f.Close()
//	c, err := sim.Start(ctx, sim.Config{
//	    Fabric:     f,
//	    Control:    sim.Host{Name: "ctl", Address: "192.168.50.2/24"},
//	    Hosts:      []sim.Host{{Name: "h1", Address: "192.168.50.11/24", Attributes: map[string]string{"zone": "a"}}},
//	    CNIConf:    confDir,     // *.json or *.conf network configurations, re-read at each launch
//	    CNIPlugins: pluginDir,   // directory with the plugin binaries
//	})
//	defer c.Close()
//	c.MasterURL()                // http://192.168.50.2:5050, from inside the fabric
//	c.MarathonURL()              // http://192.168.50.2:8080
//	c.Host("h1").NS              // the host's namespace; c.Host("h1").Agent its Mesos agent
//	c.CreateApp(ctx, `{"id":"/shop/web","cmd":"peer --tcp 8080","instances":2,
//	    "networks":[{"mode":"container","name":"taskwall"}],"labels":{"tier":"web"}}`)
//	tasks, err := c.WaitRunning(ctx, "/shop/web", 2) // []sim.Task with address, netns path, pid, host
//	probe.TCP(ctx, tasks[0].Netns, tasks[1].Address, 8080)
//
// Without a fabric all servers listen on loopback and tasks run on paper only
// (no process, no CNI): thousands of them start at once. With a Network in memory
// (package memnet) all this fits in a testing/synctest bubble: hours of a
// cluster's life pass in seconds.
//
// Cluster's methods inject the faults that the real thing has: see fault.go.
// Tasks is the truth to compare with.
package sim
