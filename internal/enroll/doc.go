// Package enroll lets a machine join a site: an operator makes a code on the site's first router, carries it to the other
// machine, and that one gets what it needs.
//
//	router                                         machine that joins
//	  | Invite: makes a TLS key and 128 random bits      |
//	  | -- code: those bits, fingerprint of the key --> by hand
//	  |<============ TLS 1.3, key pinned by the code ====|
//	  |<------------ Request: the bits, name, CSR -------|  private keys stay where they are made
//	  |------------- Grant: certificates, secrets ------>|
//	  | ends                                             |
//
// Whoever does not have the code can neither be the router (the fingerprint) nor get anything from it (the bits). A code
// works once, for fifteen minutes, and only while the command that made it runs; wrong bits are answered slowly, and after
// ten of them it is void. Both sides bound what they read and how long they wait.
package enroll
