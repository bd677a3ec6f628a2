// Package operators is the list aaa: of a configuration: whose servers authenticate the
// nodes of which realms, and by what protocol they are asked. A daemon reads it as List,
// and Open makes of it the backend of package aaa.
//
//	aaa:
//	  - name: home
//	    realms: [home.example, "*.home.example"]
//	    radius: {nas-identifier: ar-a, servers: [{address: "10.0.5.1:1812", secret-file: radius.secret}]}
package operators
