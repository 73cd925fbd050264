package web

import (
	"net/http"

	"nocturne/views/static"
)

// routes builds the whole site. The right stands beside each path.
func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	open := func(pattern string, h handler) { mux.Handle(pattern, s.handle(h)) }
	view := func(pattern string, h handler) { mux.Handle(pattern, s.may("view", s.handle(h))) }
	ack := func(pattern string, h handler) { mux.Handle(pattern, s.may("ack", s.handle(h))) }
	run := func(pattern string, h handler) { mux.Handle(pattern, s.may("run", s.handle(h))) }
	configure := func(pattern string, h handler) { mux.Handle(pattern, s.may("configure", s.handle(h))) }
	administer := func(pattern string, h handler) { mux.Handle(pattern, s.may("administer", s.handle(h))) }

	mux.Handle("GET "+static.Prefix, static.Handler())
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) { s.Exposition(w) })
	open("GET /healthz", s.healthz)
	open("GET /readyz", s.readyz)
	open("GET /login", s.loginPage)
	open("POST /login", s.login)
	open("POST /logout", s.logout)
	open("GET /setup", s.setupPage)
	open("POST /setup", s.setup)
	open("POST /theme", s.setTheme)

	view("GET /{$}", s.overview)
	view("GET /devices", s.devices)
	view("GET /device/{id...}", s.device)
	configure("POST /maintenance", s.startMaintenance)
	configure("POST /maintenance/end", s.endMaintenance)
	run("POST /poll", s.pollNow)
	view("GET /racks", s.rackWall)
	view("GET /rack/{id...}", s.rack)
	view("GET /topology", s.topology)
	view("GET /alerts", s.alerts)
	view("GET /alerts/{fingerprint}", s.alert)
	ack("POST /alerts/{fingerprint}/ack", s.ackAlert)
	ack("POST /alerts/{fingerprint}/close", s.closeAlert)
	view("GET /incidents/{id}", s.incident)
	view("GET /jobs", s.jobs)
	view("GET /jobs/{id}", s.job)
	run("GET /jobs/new", s.jobForm)
	run("POST /jobs", s.startJob)
	run("POST /jobs/{id}/cancel", s.cancelJob)
	view("GET /reports", s.reports)
	view("GET /reports/{id}", s.report)
	run("POST /reports", s.runInspection)
	view("GET /inventory", s.inventory)
	view("GET /inventory/{id...}", s.item)
	view("GET /inventory/export", s.exportInventory)
	configure("GET /inventory/import", s.importForm)
	configure("POST /inventory/import", s.importInventory)

	view("GET /admin", s.administration)
	administer("GET /admin/people", s.people)
	administer("POST /admin/people", s.addPerson)
	administer("POST /admin/people/{name}/role", s.setRole)
	administer("POST /admin/people/{name}/password", s.setPassword)
	administer("POST /admin/people/{name}/disable", s.disablePerson)
	administer("GET /admin/tokens", s.tokens)
	administer("POST /admin/tokens", s.addToken)
	administer("POST /admin/tokens/{name}/revoke", s.revokeToken)
	administer("GET /admin/credentials", s.credentials)
	administer("POST /admin/credentials", s.putCredential)
	administer("POST /admin/credentials/{name}/delete", s.deleteCredential)
	administer("GET /admin/configuration", s.configurationPage)
	administer("POST /admin/configuration/reload", s.reloadConfiguration)
	administer("POST /admin/key/rotate", s.rotateKey)
	administer("GET /admin/audit", s.audit)
	administer("POST /admin/audit/verify", s.verifyLedger)
	view("GET /admin/targets", s.targets)
	view("GET /admin/rules", s.rules)
	view("GET /admin/history", s.historyPage)
	view("GET /admin/appliance", s.appliancePage)
	view("GET /admin/about", s.about)

	administer("GET /debug/pprof/", s.profile)
	view("GET /live", s.live)
	mux.Handle("POST /api/v1/write", s.may("write", s.handle(s.write)))
	prometheus := s.prometheus()
	mux.Handle("/api/v1/", s.may("view", prometheus))
	mux.Handle("POST /api/v1/admin/", s.may("administer", prometheus))
	mux.Handle("PUT /api/v1/admin/", s.may("administer", prometheus))
	mux.Handle("GET /federate", s.may("view", prometheus))
	mux.Handle("OPTIONS /api/v1/", prometheus) // asked before a token is sent
	open("GET /-/healthy", s.healthy)
	open("GET /-/ready", s.ready)
	s.api(mux)
	open("/", func(http.ResponseWriter, *http.Request) error { return notFound{"page of that name"} })

	return s.outside(s.secured(crossOrigin().Handler(s.authenticated(mux))))
}
