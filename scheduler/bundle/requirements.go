package bundle

// Requirement is a requirement of PCI DSS v4.0 with what a bundle shows of it,
// and what it does not.
type Requirement struct{ Number, Asks, Shows, ShowsNot string }

// requirements are told plainly: an assessor must not take more from a bundle
// than it proves.
var requirements = []Requirement{
	{"1.2.5", "All services, protocols and ports that are allowed are identified, approved, and have a business need.",
		"Identified: every flow to and from the chosen systems, with its ports. The rule that allows it, its file, author and commit.",
		"The business need, and that the author was who may approve: that is in the reviews of the repository that the commits name."},
	{"1.2.6", "Insecure services, protocols and ports have security features that reduce the risk.",
		"Which ports are open, so that insecure ones can be picked out.",
		"What runs on a port, and how it is protected there."},
	{"1.2.7", "Configurations of network security controls are reviewed at least every six months.",
		"What was in force at every moment of the period, and each change, to review.",
		"That somebody reviewed it."},
	{"1.2.8", "Configuration is secured from unauthorized access and consistent with the active configuration.",
		"That the policies in force are those of the named changes, in a log that cannot be altered unseen.",
		"That the hosts' kernels held it: 'taskwall audit verify' compares what hosts reported. Access to the repository and to NATS."},
	{"1.3.1", "Inbound traffic to the cardholder data environment is restricted to what is necessary; all other is denied.",
		"All that could reach the chosen systems. What is not listed was denied: without a rule nothing passes.",
		"That what is listed is necessary; systems that Taskwall does not wire."},
	{"1.3.2", "Outbound traffic from the cardholder data environment is restricted to what is necessary; all other is denied.",
		"All that the chosen systems could reach. What is not listed was denied.",
		"That what is listed is necessary; systems that Taskwall does not wire."},
	{"1.4.1", "Network security controls are between trusted and untrusted networks.",
		"Between tasks, and between tasks and every named network, the controls that were in force at each task.",
		"Controls at the edge of the network, such as firewalls and routers."},
	{"1.4.2", "Inbound traffic from untrusted to trusted networks is restricted to what may be public, and to answers of what was sent.",
		"Which networks outside, among them 'any other address', could begin a connection to the chosen systems. Answers pass by connection tracking.",
		"Which of the networks are trusted."},
	{"6.5.1", "Changes to production systems follow procedures: reason, impact, approval, tests, a way back.",
		"Each change of policies in the period, with time, author, commit and message. The former form of each is in the log.",
		"Approval, tests and impact, which are in the repository and its checks."},
	{"10.2", "Audit logs are implemented to detect anomalies and to reconstruct events.",
		"A log of all changes of policies, tasks and hosts, from which this answer was folded.",
		"Logs of the systems themselves, of users, and of denied packets (hosts report those; they are not part of the chain)."},
	{"10.3", "Audit logs are protected from destruction and unauthorized modification.",
		"Each record holds the hash of the one before, and checkpoints are signed: altered, removed, inserted and reordered records are found.",
		"Records after the last checkpoint rest on the chain alone. Where the signing key is kept."},
	{"10.5.1", "Audit log history is kept for at least 12 months, three of them at hand.",
		"That the records of this bundle are there, from the first to the last that it names.",
		"What is kept beyond this bundle: 'taskwall status' and 'taskwall audit verify' say since when."},
}
