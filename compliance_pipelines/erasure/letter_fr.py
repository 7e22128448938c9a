"""The words of a certificate in French.

Here: words. Not here: which there must be (letter_words.py).
"""

from __future__ import annotations

from typing import Final

from compliance_pipelines.erasure.letter_words import Headings, Labels, Language

FRENCH: Final = Language(
    code="fr",
    months=(
        "janvier",
        "février",
        "mars",
        "avril",
        "mai",
        "juin",
        "juillet",
        "août",
        "septembre",
        "octobre",
        "novembre",
        "décembre",
    ),
    date_form="{day} {month} {year}",
    first_of_month="1er",
    thousands=" ",
    period="du {first} au {last}",
    page_of="Page {page} sur {pages}",
    title="Attestation d’effacement",
    title_undone="Réponse à votre demande d’effacement",
    subtitle="Notre réponse à votre demande au titre de l’article 17 du règlement général sur la protection des "
    "données (RGPD)",
    reference="Demande d’effacement n° {number}",
    headings=Headings(
        asked="Votre demande",
        result="Résultat",
        deleted="Ce qui a été effacé",
        gone="Ce qui avait disparu auparavant",
        not_deleted="Ce qui n’a pas été effacé, et pourquoi",
        kept="Ce que nous conservons parce que la loi le prévoit",
        scope="Ce que l’effacement a couvert",
        rights="Vos droits",
        proof="Comment vérifier cette attestation",
    ),
    labels=Labels(
        date="Date",
        reference="Référence",
        user_id="Votre identifiant",
        user_ids="Vos identifiants",
        asked="Vous avez demandé",
        received="Reçue le",
        due="Réponse due le",
        extension_reason="Motif de la prolongation",
        reason="Motif",
        kind="Nature des données",
        number="Nombre",
        when="Date d’effacement",
        why="Pourquoi",
        basis="Base juridique",
        entry="Entrée du journal d’audit",
        closing_entry="Entrée qui a clos la demande",
        recorded="Enregistrée",
        sha256="SHA-256 de la déclaration",
        ledger="Registre signé : nom, taille, racine",
        check="Commande",
    ),
    asked="l’effacement de toutes les données à caractère personnel liées à cet identifiant (article 17 du RGPD)",
    due="{date} (article 12, paragraphe 3, du RGPD)",
    extended="{date} (délai prolongé au titre de l’article 12, paragraphe 3, du RGPD ; d’abord {first})",
    replay="Des données avaient été rétablies à partir d’une sauvegarde. L’effacement de la demande n° {number} a "
    "donc été exécuté de nouveau.",
    outcomes={
        "complete": "L’effacement est complet. Toutes les données que notre application détenait sous votre "
        "identifiant ont été effacées ; nous ne conservons que ce qui est décrit sous « {kept} ».",
        "complete_nothing": "Notre application ne détenait aucune donnée sous votre identifiant : il n’y avait rien "
        "à effacer. Nous ne conservons que ce qui est décrit sous « {kept} ».",
        "attributable": "Tout ce que l’on peut reconnaître comme vous appartenant a été effacé. Il existe en outre "
        "des données dont personne ne peut dire qui elles concernent. Elles n’ont pas été effacées, et nous ne "
        "savons pas si certaines vous concernent ; voir « {not_deleted} ».",
        "attributable_nothing": "Notre application ne détenait aucune donnée que l’on puisse reconnaître comme vous "
        "appartenant : il n’y avait rien à effacer. Il existe des données dont personne ne peut dire qui elles "
        "concernent. Elles n’ont pas été effacées, et nous ne savons pas si certaines vous concernent ; voir « "
        "{not_deleted} ».",
        "partial": "Vos données ont été effacées en partie. Ce qui n’a pas été effacé, et pourquoi, est décrit sous "
        "« {not_deleted} ».",
        "refused": "Nous avons refusé votre demande et ne l’exécutons pas. Le RGPD le permet pour les demandes "
        "manifestement infondées ou excessives (article 12, paragraphe 5, point b), du RGPD).",
        "withdrawn": "Votre demande a été retirée, et nous ne l’exécutons pas.",
    },
    delayed="Une partie de l’effacement a été suspendue pour un temps, parce que les données concernées étaient "
    "nécessaires à la constatation, à l’exercice ou à la défense de droits en justice (article 17, paragraphe 3, "
    "point e), du RGPD).",
    verified="Le {date}, tous les emplacements que couvre cet effacement ont été examinés de nouveau. Rien de plus "
    "n’a été trouvé qui puisse être effacé.",
    nothing_deleted="Rien n’a été effacé.",
    gone="Ces données avaient été trouvées et n’étaient plus là au moment de les effacer. Nous ne pouvons pas dire "
    "si c’est cet effacement ou autre chose qui les a supprimées.",
    kinds={
        "sessions": "Sessions de connexion",
        "session_lists": "Liste de vos sessions de connexion",
        "conversations": "Conversations avec l’assistant",
        "memories": "Ce que l’assistant avait retenu à votre sujet",
        "memory_vectors": "Données de recherche tirées de ces souvenirs",
        "other": "Autres enregistrements de nos bases de données",
    },
    unlinked="{kind} (plus rien ne les relie à vous)",
    unknown_number="inconnu",
    counted="{kind} : {number}",
    not_deleted={
        "shared": "Données qui concernent aussi d’autres personnes",
        "unattributable": "Données dont personne ne peut dire qui elles concernent",
        "unfinished": "Données dont l’effacement n’a pas été achevé",
        "reduced": "Enregistrements conservés avec moins de précisions",
    },
    reasons={
        "shared": "Ces données concernent aussi d’autres personnes ou ne peuvent être séparées des leurs. Les "
        "effacer effacerait aussi des données d’autrui ; cela n’a donc pas été fait automatiquement. Un membre "
        "de notre personnel doit en décider ; écrivez-nous si vous souhaitez connaître sa décision.",
        "unattributable": "Rien dans ces données ne dit qui elles concernent ; personne ne peut dire si certaines "
        "sont les vôtres. Les nombres sont ceux de toutes ces données, non des vôtres. Si vous pouvez nous "
        "indiquer lesquelles sont les vôtres, par exemple quand ou à quel sujet elles ont été produites, nous "
        "pourrons chercher de nouveau.",
        "unfinished": "L’effacement dans l’un de nos systèmes a été commencé et n’a pu être achevé, et ce système ne "
        "fait plus partie de ceux que l’effacement atteint. Des données vous concernant peuvent encore s’y "
        "trouver. Veuillez nous écrire à ce sujet.",
        "reduced": "Des précisions ont été retirées ou remplacées dans ces enregistrements. Les enregistrements "
        "eux-mêmes demeurent et portent toujours votre identifiant. Lorsqu’un nombre est 0, il n’y a pas de tels "
        "enregistrements, ou les précisions avaient déjà été retirées.",
    },
    bases={
        "shared": "Les droits des autres personnes concernées ; l’article 17, paragraphe 3, du RGPD ne donne pas de "
        "motif propre pour conserver ces données.",
        "unattributable": "Article 11 du RGPD : nous ne sommes pas en mesure d’identifier qui ces données concernent.",
        "unfinished": "Aucune des exceptions de l’article 17, paragraphe 3, du RGPD.",
        "reduced": "Nous vous en indiquons le motif sur demande ; voir « {rights} ».",
    },
    kept_kinds={
        "audit_log": "Les entrées de notre journal d’audit qui portent votre identifiant",
        "erasure_record": "L’enregistrement de cette demande, avec votre identifiant",
    },
    kept_reasons={
        "audit_log": "Le journal d’audit dit qui a fait quoi dans nos systèmes. La loi et les auditeurs l’exigent, "
        "et personne ne peut le modifier. La durée pour laquelle nous le conservons est de {years} ans.",
        "erasure_record": "Il montre que nous avons répondu à votre demande, et c’est d’après lui que vos données "
        "seront effacées de nouveau si une sauvegarde doit être rétablie.",
    },
    kept_bases={
        "audit_log": "Article 17, paragraphe 3, point b), du RGPD (obligation légale) et point e) (droits en justice).",
        "erasure_record": "Article 17, paragraphe 3, point b), du RGPD, avec l’article 5, paragraphe 2, et l’article "
        "12, paragraphe 3, et article 17, paragraphe 3, point e), du RGPD.",
    },
    scope="L’effacement a couvert les systèmes dans lesquels notre application détient les données de ses "
    "utilisateurs. Il n’a couvert ni les copies de sauvegarde ni la correspondance avec nous. Écrivez-nous si "
    "votre question porte sur celles-ci.",
    complaint="Si vous estimez que notre traitement de vos données, ou cette réponse, constitue une violation du "
    "RGPD, vous avez le droit d’introduire une réclamation auprès d’une autorité de contrôle, en particulier "
    "dans l’État membre où vous résidez ou travaillez ou dans lequel la violation aurait été commise (article "
    "12, paragraphe 4, et article 77 du RGPD).",
    authority="L’autorité de contrôle dont nous relevons est :",
    remedy="Vous avez également droit à un recours juridictionnel effectif : vous pouvez agir en justice contre nous "
    "(article 12, paragraphe 4, et article 79 du RGPD).",
    contact="Pour toute question sur cette lettre ou sur vos données, veuillez écrire à :",
    greeting="Veuillez agréer nos salutations distinguées.",
    proven="Ce que cette lettre dit de votre demande, de son résultat et de ce qui a été effacé et conservé figure "
    "dans une déclaration. L’empreinte de cette déclaration se trouve dans une entrée de notre journal d’audit, "
    "scellé de sorte qu’aucune modification ultérieure ne passe inaperçue. Quiconque possède les données de "
    "cette attestation (JSON ; le fichier PDF les contient en pièce jointe, la page HTML dans son code source) "
    "et la clé publique de notre registre peut le vérifier sans nous. La date, les adresses et la formulation de "
    "cette lettre n’en sont pas prouvées.",
    unproven="Votre demande a été close avant que nous ne liions les attestations à notre journal d’audit. Cette "
    "lettre a été établie à la date ci-dessus d’après notre enregistrement interne et n’a pas de preuve propre. "
    "L’enregistrement interne est prouvé par l’entrée de notre journal d’audit indiquée ici ; l’autorité de "
    "contrôle peut la faire vérifier.",
    utc="UTC",
)
