fn main() {
    ferrokeeper::server::logging::init();
    let args: Vec<String> = std::env::args().collect();
    let ext = args.iter().any(|a| a == "-Dzookeeper.extendedTypesEnabled=true");
    let text = std::fs::read_to_string(args.last().unwrap()).unwrap();
    if let Err(e) = ferrokeeper::server::run(ferrokeeper::config::Config::stub(&text, ext)) {
        eprintln!("{:?}", e.error);
        std::process::exit(e.code)
    }
}
